// SPDX-License-Identifier: GPL-2.0
/*
 * Where device memory lies and how fast it is, beside what the firmware's tables and
 * the node's directory say; and coherent memory in a soft-reserved region, which
 * firmware calls memory for a specific purpose.
 *
 * The region is made with memmap=<size>%<start>-1+0xefffffff on the kernel command
 * line, see harness/boot.sh --hmat.
 */
#define _GNU_SOURCE
#include "pci.h"

#define PAGES		32
#define IN_CDM		HMM_DMIRROR_PAGE_CDM

#define TABLES		"/sys/firmware/acpi/tables/"
#define NODES		"/sys/devices/system/node/"

/* ACPI 6.5, 5.2.16 and 5.2.28: offsets and types. */
#define SRAT_FIRST	48
#define SRAT_MEMORY	1
#define SRAT_ENABLED	1
#define HMAT_FIRST	40
#define HMAT_DOMAIN	0
#define HMAT_LOCALITY	1
#define HMAT_INITIATOR	1	/* the domain of the nearest initiator is valid */
#define HMAT_HIERARCHY	0xf	/* 0: memory, otherwise a cache of it */
#define HMAT_UNKNOWN	0xffff
#define ANY_INITIATOR	(-1L)

/* Of a locality structure. */
enum {
	ACCESS_LATENCY, READ_LATENCY, WRITE_LATENCY,
	ACCESS_BANDWIDTH, READ_BANDWIDTH, WRITE_BANDWIDTH,
};

struct table {
	size_t size;
	unsigned char bytes[65536];
};

static bool read_table(const char *name, struct table *table)
{
	char path[128];
	ssize_t got;
	int file;

	snprintf(path, sizeof(path), TABLES "%s", name);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return false;
	table->size = 0;
	do {
		got = read(file, table->bytes + table->size,
			   sizeof(table->bytes) - table->size);
		table->size += got > 0 ? got : 0;
	} while (got > 0);
	close(file);
	return table->size >= SRAT_FIRST;
}

/* A little-endian number of @bytes bytes; 0 beyond the table. */
static uint64_t number_at(const struct table *table, size_t at,
			  unsigned int bytes)
{
	uint64_t number = 0;

	while (bytes-- && at + bytes < table->size)
		number = number << 8 | table->bytes[at + bytes];
	return number;
}

/* The proximity domain that an address lies in, or -ENOENT. */
static long find_domain(const struct table *srat, uint64_t address)
{
	size_t at, length;

	for (at = SRAT_FIRST; at < srat->size; at += length) {
		length = number_at(srat, at + 1, 1);
		if (!length)
			break;
		if (number_at(srat, at, 1) == SRAT_MEMORY &&
		    number_at(srat, at + 28, 4) & SRAT_ENABLED &&
		    address - number_at(srat, at + 8, 8) <
		    number_at(srat, at + 16, 8))
			return number_at(srat, at + 2, 4);
	}
	return -ENOENT;
}

/* The domain of the initiator nearest to a domain, if the table says so. */
static long find_initiator(const struct table *hmat, long domain)
{
	size_t at, length;

	for (at = HMAT_FIRST; at < hmat->size; at += length) {
		length = number_at(hmat, at + 4, 4);
		if (!length)
			break;
		if (number_at(hmat, at, 2) == HMAT_DOMAIN &&
		    number_at(hmat, at + 8, 2) & HMAT_INITIATOR &&
		    number_at(hmat, at + 16, 4) == (uint64_t)domain)
			return number_at(hmat, at + 12, 4);
	}
	return ANY_INITIATOR;
}

static void take_better(uint32_t *value, uint64_t other, bool latency)
{
	if (other && (!*value || (latency ? other < *value : other > *value)))
		*value = other;
}

/* Take what the locality structure at @at says of @domain. */
static void take_locality(const struct table *hmat, size_t at, long initiator,
			  long domain, struct hmm_dmirror_perf *best)
{
	unsigned int type = number_at(hmat, at + 9, 1);
	size_t rows = number_at(hmat, at + 12, 4), row;
	size_t columns = number_at(hmat, at + 16, 4), column;
	size_t lists = at + 32, entries = lists + 4 * (rows + columns);
	bool latency = type <= WRITE_LATENCY;
	uint64_t value;

	for (row = 0; row < rows; row++)
		for (column = 0; column < columns; column++) {
			if ((initiator != ANY_INITIATOR &&
			     number_at(hmat, lists + 4 * row, 4) !=
			     (uint64_t)initiator) ||
			    number_at(hmat, lists + 4 * (rows + column), 4) !=
			    (uint64_t)domain)
				continue;
			value = number_at(hmat, entries +
					  2 * (row * columns + column), 2);
			if (value == HMAT_UNKNOWN)
				continue;
			value *= number_at(hmat, at + 24, 8);
			/* Picoseconds or MB/s. */
			if (latency)
				value = (value + 999) / 1000;
			if (type == READ_LATENCY || type == ACCESS_LATENCY)
				take_better(&best->read_latency, value, true);
			if (type == WRITE_LATENCY || type == ACCESS_LATENCY)
				take_better(&best->write_latency, value, true);
			if (type == READ_BANDWIDTH || type == ACCESS_BANDWIDTH)
				take_better(&best->read_bandwidth, value, false);
			if (type == WRITE_BANDWIDTH || type == ACCESS_BANDWIDTH)
				take_better(&best->write_bandwidth, value, false);
		}
}

/* What the table says of the nearest initiator's accesses to a domain. */
static void read_domain(const struct table *hmat, long domain,
			struct hmm_dmirror_perf *best)
{
	long initiator = find_initiator(hmat, domain);
	size_t at, length;

	*best = (struct hmm_dmirror_perf){};
	for (at = HMAT_FIRST; at < hmat->size; at += length) {
		length = number_at(hmat, at + 4, 4);
		if (!length)
			break;
		if (number_at(hmat, at, 2) == HMAT_LOCALITY &&
		    !(number_at(hmat, at + 8, 1) & HMAT_HIERARCHY))
			take_locality(hmat, at, initiator, domain, best);
	}
}

/* The range that device @number claims; false if there is none. */
static bool find_claim(unsigned int number, struct pci_bar *region)
{
	FILE *file = fopen("/proc/iomem", "r");
	char line[256], name[32];
	bool found = false;
	int at;

	snprintf(name, sizeof(name), "hmm_dmirror%u\n", number);
	while (file && !found && fgets(line, sizeof(line), file))
		found = sscanf(line, " %" SCNx64 "-%" SCNx64 " : %n",
			       &region->start, &region->end, &at) == 2 &&
			!strcmp(line + at, name);
	if (file)
		fclose(file);
	return found;
}

/* A number with an optional suffix K, M or G. */
static uint64_t parse_size(const char *text, char **end)
{
	static const char suffixes[] = "KMG";
	uint64_t size = strtoull(text, end, 0);
	const char *suffix = **end ? strchr(suffixes, **end) : NULL;

	if (!suffix)
		return size;
	(*end)++;
	return size << 10 * (suffix - suffixes + 1);
}

/* Does all of @region lie in RAM that the command line made soft-reserved? */
static bool is_soft_reserved(const struct pci_bar *region)
{
	char line[4096] = "", *word, *rest = line, *at;
	FILE *file = fopen("/proc/cmdline", "r");
	uint64_t size, start;

	if (file) {
		if (!fgets(line, sizeof(line), file))
			line[0] = 0;
		fclose(file);
	}
	line[strcspn(line, "\n")] = 0;
	while ((word = strsep(&rest, " "))) {
		if (strncmp(word, "memmap=", 7))
			continue;
		size = parse_size(word + 7, &at);
		if (*at != '%')
			continue;
		start = parse_size(at + 1, &at);
		if (!strcmp(at, "-1+0xefffffff") && region->start >= start &&
		    region->end < start + size)
			return true;
	}
	return false;
}

/*
 * Open the first device with coherent memory that is not a PCI device's, in a
 * soft-reserved region or not; -ENODEV if there is none.
 */
static int open_coherent(struct dmirror *dev, struct pci_bar *region, bool soft)
{
	unsigned int nth;
	int ret;

	for (nth = 0; ; nth++) {
		ret = dmirror_open_memory(dev, CDM, nth);
		if (ret)
			return ret;
		if (!(dev->info.flags & HMM_DMIRROR_INFO_DMA) &&
		    find_claim(dev->number, region) &&
		    is_soft_reserved(region) == soft)
			return 0;
		dmirror_close(dev);
	}
}

/* What is answered where firmware says nothing. */
static int unknown_error(void)
{
	return getenv("HMM_UNMODIFIED_KERNEL") ? -EOPNOTSUPP : -ENODATA;
}

static bool no_values(const struct hmm_dmirror_perf *perf)
{
	return !perf->read_latency && !perf->write_latency &&
	       !perf->read_bandwidth && !perf->write_bandwidth;
}

#define EXPECT_VALUES(expected, seen) do { \
	EXPECT_EQ((expected)->read_latency, (seen)->read_latency); \
	EXPECT_EQ((expected)->write_latency, (seen)->write_latency); \
	EXPECT_EQ((expected)->read_bandwidth, (seen)->read_bandwidth); \
	EXPECT_EQ((expected)->write_bandwidth, (seen)->write_bandwidth); \
} while (0)

FIXTURE(coherent)
{
	struct dmirror dev;
	struct pci_bar region;
	struct hmm_dmirror_perf seen;
	size_t page;
	size_t length;
	char *data;		/* pattern 1 */
};

FIXTURE_VARIANT(coherent)
{
	bool soft;
};

FIXTURE_VARIANT_ADD(coherent, reserved)
{
	.soft = false,
};

FIXTURE_VARIANT_ADD(coherent, soft_reserved)
{
	.soft = true,
};

FIXTURE_SETUP(coherent)
{
	int ret = open_coherent(&self->dev, &self->region, variant->soft);

	if (ret == -ENODEV)
		SKIP(return, "hmm_dmirror has no coherent memory in a %s region",
		     variant->soft ? "soft-reserved" : "reserved");
	ASSERT_EQ(0, ret);
	memset(&self->seen, 0xff, sizeof(self->seen));
	ASSERT_EQ(0, dmirror_perf(&self->dev, &self->seen));
	self->page = page_size();
	self->length = PAGES * self->page;
	self->data = map_alone(self->length, false);
	ASSERT_NE(NULL, self->data);
	fill(self->data, self->length, 1);
}

FIXTURE_TEARDOWN(coherent)
{
	dmirror_close(&self->dev);
}

/* The firmware's own tables, whether the kernel shows the node or not. */
TEST_F(coherent, as_firmware_says)
{
	struct hmm_dmirror_perf expected;
	static struct table srat, hmat;
	long domain;

	if (!read_table("SRAT", &srat) || !read_table("HMAT", &hmat))
		SKIP(return, "the firmware has no SRAT or no HMAT");
	if (number_at(&hmat, 8, 1) != 2)
		SKIP(return, "the HMAT is not of revision 2");
	domain = find_domain(&srat, self->region.start);
	if (domain < 0)
		SKIP(return, "the firmware has no domain for %#" PRIx64,
		     self->region.start);
	TH_LOG("domain %ld, node %d", domain, self->seen.node);
	EXPECT_LE(0, self->seen.node);

	if (getenv("HMM_UNMODIFIED_KERNEL")) {
		EXPECT_EQ(-EOPNOTSUPP, self->seen.error);
		EXPECT_TRUE(no_values(&self->seen));
		return;
	}
	read_domain(&hmat, domain, &expected);
	EXPECT_EQ(no_values(&expected) ? -ENODATA : 0, self->seen.error);
	EXPECT_VALUES(&expected, &self->seen);
	TH_LOG("%u and %u ns, %u and %u MB/s", self->seen.read_latency,
	       self->seen.write_latency, self->seen.read_bandwidth,
	       self->seen.write_bandwidth);
}

/* Process memory lies there, and the CPU and the device use it together. */
TEST_F(coherent, memory_is_the_region)
{
	struct hmm_dmirror_migrate result;
	uint64_t sum, evicted;

	EXPECT_EQ(self->region.end - self->region.start + 1,
		  self->dev.info.memory_size);
	ASSERT_EQ(0, in_bar(&self->region, self->data, self->length));
	ASSERT_TRUE(move_in(&self->dev, self->data, self->length));
	EXPECT_EQ(PAGES, in_bar(&self->region, self->data, self->length));
	EXPECT_EQ(0, differences(self->data, self->length, 1));
	ASSERT_EQ(0, dmirror_sum(&self->dev, self->data, self->length, &sum));
	EXPECT_EQ(pattern_sum(self->length, 1), sum);
	EXPECT_EQ(PAGES, mapped(&self->dev, self->data, self->length, IN_CDM));

	ASSERT_EQ(0, dmirror_fill(&self->dev, self->data, self->length, 2));
	EXPECT_EQ(0, others(self->data, self->length, 2));
	fill(self->data, self->length, 3);
	EXPECT_EQ(PAGES, in_bar(&self->region, self->data, self->length));
	ASSERT_EQ(0, migrate(&self->dev, self->data, self->length,
			     HMM_DMIRROR_TO_RAM, &result));
	EXPECT_EQ(PAGES, result.moved);
	EXPECT_EQ(0, in_bar(&self->region, self->data, self->length));
	EXPECT_EQ(0, differences(self->data, self->length, 3));

	ASSERT_TRUE(move_in(&self->dev, self->data, self->length));
	EXPECT_EQ(PAGES, in_bar(&self->region, self->data, self->length));
	ASSERT_EQ(0, dmirror_evict(&self->dev, ~0ULL, &evicted));
	EXPECT_LE(PAGES, evicted);
	EXPECT_EQ(0, in_bar(&self->region, self->data, self->length));
	EXPECT_EQ(PAGES, pages_present(self->data, self->length));
	EXPECT_EQ(0, differences(self->data, self->length, 3));
}

/* A number of the nearest initiator of a node; negative if it is not there. */
static long read_initiators(int node, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), NODES "node%d/access0/initiators/%s", node,
		 name);
	return read_number(path, NULL);
}

/* The directory of a node that is online says the same. */
TEST(as_the_node_says)
{
	struct hmm_dmirror_perf seen;
	struct pci_bar region;
	struct dmirror dev;
	int ret;

	ret = open_coherent(&dev, &region, false);
	if (ret == -ENODEV)
		SKIP(return, "hmm_dmirror has no coherent memory in a reserved region");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, dmirror_perf(&dev, &seen));
	dmirror_close(&dev);
	if (read_initiators(seen.node, "read_latency") < 0)
		SKIP(return, "the kernel shows no latency of node %d", seen.node);

	if (getenv("HMM_UNMODIFIED_KERNEL")) {
		EXPECT_EQ(-EOPNOTSUPP, seen.error);
		return;
	}
	EXPECT_EQ(0, seen.error);
	EXPECT_EQ(read_initiators(seen.node, "read_latency"),
		  seen.read_latency);
	EXPECT_EQ(read_initiators(seen.node, "write_latency"),
		  seen.write_latency);
	EXPECT_EQ(read_initiators(seen.node, "read_bandwidth"),
		  seen.read_bandwidth);
	EXPECT_EQ(read_initiators(seen.node, "write_bandwidth"),
		  seen.write_bandwidth);
}

/* Memory in another domain is memory of another node, and only that. */
TEST(nodes_are_domains)
{
	struct hmm_dmirror_perf seen[2];
	static struct table srat;
	struct pci_bar region;
	struct dmirror dev;
	long domain[2];
	int soft, ret;

	if (!read_table("SRAT", &srat))
		SKIP(return, "the firmware has no SRAT");
	for (soft = 0; soft < 2; soft++) {
		ret = open_coherent(&dev, &region, soft);
		if (ret == -ENODEV)
			SKIP(return, "hmm_dmirror has too little coherent memory");
		ASSERT_EQ(0, ret);
		ASSERT_EQ(0, dmirror_perf(&dev, &seen[soft]));
		dmirror_close(&dev);
		domain[soft] = find_domain(&srat, region.start);
	}
	EXPECT_EQ(domain[0] == domain[1], seen[0].node == seen[1].node);
}

/* Firmware knows no memory that the CPU cannot address. */
TEST(private_memory)
{
	struct hmm_dmirror_perf seen;
	struct dmirror dev;

	OPEN_OR_SKIP(return, &dev, PRIVATE, 0);
	memset(&seen, 0xff, sizeof(seen));
	ASSERT_EQ(0, dmirror_perf(&dev, &seen));
	EXPECT_EQ(-1, seen.node);
	EXPECT_EQ(unknown_error(), seen.error);
	EXPECT_TRUE(no_values(&seen));
	dmirror_close(&dev);
}

/* Nor the memory of a PCI device, which has the node of the device. */
TEST(memory_of_a_pci_device)
{
	struct hmm_dmirror_perf seen;
	struct pci_bar bar;
	struct dmirror dev;
	char path[128];

	if (find_pci(&bar, CDM))
		SKIP(return, "hmm_dmirror has no memory of a PCI device");
	ASSERT_EQ(0, open_on(&bar, &dev));
	memset(&seen, 0xff, sizeof(seen));
	ASSERT_EQ(0, dmirror_perf(&dev, &seen));
	snprintf(path, sizeof(path), PCI_DEVICES "%s/numa_node", bar.address);
	EXPECT_EQ(read_number(path, NULL), seen.node);
	EXPECT_EQ(unknown_error(), seen.error);
	EXPECT_TRUE(no_values(&seen));
	dmirror_close(&dev);
}

TEST(arguments)
{
	struct hmm_dmirror_perf seen;
	struct dmirror dev;
	char *forbidden = mmap(NULL, page_size(), PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, forbidden);
	OPEN_OR_SKIP(return, &dev, NONE, 0);
	EXPECT_EQ(-EOPNOTSUPP, dmirror_perf(&dev, &seen));
	dmirror_close(&dev);

	OPEN_OR_SKIP(return, &dev, PRIVATE, 0);
	EXPECT_EQ(-1, ioctl(dev.fd, HMM_DMIRROR_PERF, NULL));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, ioctl(dev.fd, HMM_DMIRROR_PERF, forbidden));
	EXPECT_EQ(EFAULT, errno);
	dmirror_close(&dev);
}

TEST_HARNESS_MAIN
