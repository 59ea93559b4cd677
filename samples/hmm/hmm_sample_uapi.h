/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What programs say to /dev/hmm_sample.  An open file stands for the address space that
 * opened it.
 */
#ifndef _HMM_SAMPLE_UAPI_H
#define _HMM_SAMPLE_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Move the pages of the range to device memory first, those that can be moved. */
#define HMM_SAMPLE_TO_DEVICE	0x1

/**
 * struct hmm_sample_add - HMM_SAMPLE_ADD, the device adds to 64-bit words
 * @addr: of the first word, a multiple of 8
 * @size: bytes, a multiple of 8, not 0; the range does not wrap
 * @value: what to add to each word; with 0 the device only reads
 * @flags: 0 or HMM_SAMPLE_TO_DEVICE
 * @done: in and out, 0 at first: bytes from @addr on that are done, a multiple of 8, at
 *	most @size.  After an error the caller may go on from here
 * @sum: in and out: grows by each word, after @value was added
 * @on_device: in and out: grows by the bytes that the device found in its memory
 *
 * Errors:
 *   EINVAL  a member has a value that is not allowed
 *   EPERM   the file was opened in another address space, or the process may read the
 *           memory only and @value is not 0
 *   EFAULT  the process cannot access the memory, or this struct
 *   ERANGE  the memory lies outside the address space
 *   ENOMEM  no memory
 *   ETIME   others change the mapping of the memory all the time
 *   EINTR   the caller is being killed
 *   ENOTTY  no such ioctl
 */
struct hmm_sample_add {
	__u64 addr;
	__u64 size;
	__u64 value;
	__u64 flags;
	__u64 done;
	__u64 sum;
	__u64 on_device;
};

#define HMM_SAMPLE_IOC_MAGIC	0xde

#define HMM_SAMPLE_ADD		_IOWR(HMM_SAMPLE_IOC_MAGIC, 0, struct hmm_sample_add)

#endif /* _HMM_SAMPLE_UAPI_H */
