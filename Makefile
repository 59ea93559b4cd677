# SPDX-License-Identifier: GPL-2.0
# The harness of the HMM toolbox.  Each target is one script; its head says more.

H := tools/hmm/harness

export KERNEL_SRC KERNEL_TARBALL KERNEL_SHA256 DEBIAN_MIRROR HMM_BUILD
export ARCH JOBS DEBUG ACCEL V SUITE TEST BENCH TEXT_MIB HOURS
# SECONDS is a variable of the shell's own.
export HMM_SOAK_SECONDS = $(SECONDS)
export HMM_SOAK_SEED = $(SEED)

# The scripts decide themselves what may run in parallel.
.NOTPARALLEL:
.PHONY: help setup run test kunit selftest test-upstream soak shell bench check \
	check-series clean distclean

help:
	@echo "The HMM toolbox: heterogeneous memory for drivers of devices with an MMU"
	@echo
	@echo "  make run          build all, boot it in QEMU, run the demonstration"
	@echo "  make test         KUnit, kselftests and script tests in a debug kernel"
	@echo "  make kunit        only KUnit; SUITE= selects one suite"
	@echo "  make selftest     only kselftests; TEST= selects one program"
	@echo "  make test-upstream  mainline's own hmm-tests with lib/test_hmm on the toolbox"
	@echo "  make soak         only the long random walk; HOURS= or SECONDS=, SEED="
	@echo "  make shell        boot and look around"
	@echo "  make bench        measure against the unmodified kernel; BENCH= selects"
	@echo "  make check        style, static analysis, configuration matrix; no boot"
	@echo "  make check-series apply and build each patch on its own (long)"
	@echo "  make setup        install what is missing, or say how"
	@echo "  make clean        remove what was built, keep source and downloads"
	@echo "  make distclean    remove everything generated"
	@echo
	@echo "Variables (make TARGET NAME=value):"
	@echo "  KERNEL_SRC=DIR    a Linux 7.3 tree; default: Debian's source package"
	@echo "  KERNEL_TARBALL=FILE KERNEL_SHA256=SUM   or a tarball"
	@echo "  DEBIAN_MIRROR=URI default: the one that the machine's apt uses"
	@echo "  ARCH=x86_64       the only one so far"
	@echo "  JOBS=N            parallel compilations; default: number of CPUs"
	@echo "  DEBUG=0|1         release or debug kernel; default: 1 for kunit, selftest,"
	@echo "                    test-upstream and soak, 0 for run and shell"
	@echo "  ACCEL=auto|kvm|tcg  how QEMU runs; default: kvm if it works"
	@echo "  HOURS=N|SECONDS=N   how long the random walk takes; default: HOURS=1"
	@echo "  SEED=N            repeat the steps of the walk that printed it"
	@echo "  TEXT_MIB=N        text for the demonstration; default: 24"
	@echo "  V=1               show the output of long steps"
	@echo "  HMM_BUILD=DIR     default: build/ here"

setup run shell bench check check-series:
	@$(H)/$@.sh

test:
	@$(H)/test.sh all

kunit selftest soak:
	@$(H)/test.sh $@

test-upstream:
	@$(H)/test.sh upstream

clean distclean:
	@$(H)/clean.sh $@
