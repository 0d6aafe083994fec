/* The XDP program: steers the order datagrams of configured addresses and UDP ports into AF_XDP sockets, drops the hopeless ones
 * early and counts why. Not a firewall: everything that is not a UDP datagram for one of those goes to the kernel untouched.
 *
 * The way of a packet: Ethernet -> up to two VLAN tags -> IPv4 | IPv6 -> UDP -> port map -> destination address -> length ->
 * MoldUDP64 header -> allow-list -> token bucket -> socket of the receive queue. What is written to the maps is mirrored in
 * src/settings.rs and src/steering.rs. */
#include "kernel.h"

enum {
	/* UDP port -> receive queue + 1; 0: not ours; ANY_QUEUE: whichever queue it came in on. */
	PORTS = 65536,
	ANY_QUEUE = 0xffffffff,
	/* More receive queues than any NIC that we know gives to one function. */
	QUEUES_MAX = 256,
	/* Addresses that the ports are listened on: one, or all of an interface. */
	ADDRESSES_MAX = 256,
	ALLOW_LIST_MAX = 4096,
	/* Sources with a token bucket; the least recently seen is forgotten first. */
	SOURCES_MAX = 65536,
	/* Blocks whose lengths are added up. 1472 bytes hold 29 Enter Orders (49 bytes, MoldUDP64 prefix included); of the
	 * blocks after these only the two bytes of prefix are demanded. */
	BLOCKS_WALKED_MAX = 32,
	/* Retries of the bucket's compare-and-swap; only another CPU serving the same source makes it fail. */
	BUCKET_RETRIES_MAX = 4,
};

enum {
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_IPV6 = 0x86dd,
	ETHERTYPE_VLAN = 0x8100,
	ETHERTYPE_QINQ = 0x88a8,
	VLAN_TAGS_MAX = 2,
	PROTOCOL_UDP = 17,
	IPV4_VERSION_AND_LENGTH_PLAIN = 0x45,
	/* MF and the offset; DF and the reserved bit do not matter. */
	IPV4_FRAGMENT_MASK = 0x3fff,
	UDP_HEADER_LENGTH = 8,
	MOLD_HEADER_LENGTH = 20,
	MOLD_HEARTBEAT = 0,
	MOLD_END_OF_SESSION = 0xffff,
	/* What a frame can hold without XDP fragments; bounds the walk for the verifier. */
	PAYLOAD_MAX = 4096,
};

/* Index of the per-CPU counters. The order is the one of `Verdict` in src/verdict.rs. */
enum verdict {
	REDIRECTED,
	PASSED_NOT_UDP,
	PASSED_OTHER_PORT,
	PASSED_OTHER_ADDRESS,
	PASSED_IP_OPTIONS,
	PASSED_FRAGMENT,
	PASSED_EXTENSION_HEADER,
	PASSED_OTHER_QUEUE,
	PASSED_NO_SOCKET,
	DROPPED_BAD_LENGTH,
	DROPPED_SHORT,
	DROPPED_MOLD_LENGTH,
	DROPPED_NOT_ALLOWED,
	DROPPED_OVER_RATE,
	VERDICTS,
};

struct settings {
	u64 check_mold;
	/* 0 while both allow-lists are empty. */
	u64 check_source;
	/* Token bucket as a theoretical arrival time: one datagram costs `interval_ns`, and a source may be `burst_ns` ahead
	 * of its time. 0 = off. */
	u64 interval_ns;
	u64 burst_ns;
};

/* v4 addresses as v4-mapped ones. */
struct address {
	u8 octets[16];
};

struct source_v4 {
	u32 prefix_length;
	u8 address[4];
};

struct source_v6 {
	u32 prefix_length;
	u8 address[16];
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_XSKMAP);
	MAP_UINT(max_entries, QUEUES_MAX);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
} xsks SECTION(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, PORTS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
} ports SECTION(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_HASH);
	MAP_UINT(max_entries, ADDRESSES_MAX);
	MAP_TYPE(key, struct address);
	MAP_TYPE(value, u32);
} addresses SECTION(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct settings);
} settings SECTION(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_LPM_TRIE);
	MAP_UINT(max_entries, ALLOW_LIST_MAX);
	MAP_UINT(map_flags, BPF_F_NO_PREALLOC);
	MAP_TYPE(key, struct source_v4);
	MAP_TYPE(value, u32);
} allowed_v4 SECTION(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_LPM_TRIE);
	MAP_UINT(max_entries, ALLOW_LIST_MAX);
	MAP_UINT(map_flags, BPF_F_NO_PREALLOC);
	MAP_TYPE(key, struct source_v6);
	MAP_TYPE(value, u32);
} allowed_v6 SECTION(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_UINT(max_entries, SOURCES_MAX);
	MAP_TYPE(key, struct source_v6);
	MAP_TYPE(value, u64);
} buckets SECTION(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_UINT(max_entries, VERDICTS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} verdicts SECTION(".maps");

struct ethernet {
	u8 destination[6];
	u8 source[6];
	u16 type;
} __attribute__((packed));

struct vlan {
	u16 tag;
	u16 type;
} __attribute__((packed));

struct ipv4 {
	u8 version_and_length;
	u8 service;
	u16 total_length;
	u16 identification;
	u16 fragment;
	u8 time_to_live;
	u8 protocol;
	u16 checksum;
	u8 source[4];
	u8 destination[4];
} __attribute__((packed));

struct ipv6 {
	u32 version_class_flow;
	u16 payload_length;
	u8 next_header;
	u8 hop_limit;
	u8 source[16];
	u8 destination[16];
} __attribute__((packed));

struct udp {
	u16 source;
	u16 destination;
	u16 length;
	u16 checksum;
} __attribute__((packed));

struct mold {
	u8 session[10];
	u8 sequence[8];
	u16 count;
} __attribute__((packed));

static ALWAYS_INLINE int conclude(u32 verdict, int action)
{
	u64 *counter = bpf_map_lookup_elem(&verdicts, &verdict);

	if (counter)
		*counter += 1;
	return action;
}

/* The lengths of the extension headers are theirs to say, so a datagram behind one is left to the kernel. */
static ALWAYS_INLINE int is_extension_header(u8 next_header)
{
	switch (next_header) {
	case 0: /* hop-by-hop */
	case 43: /* routing */
	case 44: /* fragment */
	case 50: /* encapsulating security payload */
	case 51: /* authentication */
	case 60: /* destination options */
	case 135: /* mobility */
	case 139: /* host identity */
	case 140: /* shim6 */
		return 1;
	}
	return 0;
}

/* True when the datagram can hold what its MoldUDP64 header claims. 20 bytes alone are a heartbeat, an acknowledgement, an
 * end of session or a request (whose count is what it asks for); heartbeat and end of session have no blocks ever. */
static ALWAYS_INLINE int mold_fits(const u8 *payload, u32 payload_length, const void *end)
{
	const struct mold *header = (const void *)payload;

	if ((const void *)(header + 1) > end)
		return 0;
	if (payload_length == MOLD_HEADER_LENGTH)
		return 1;

	u32 count = FROM_BE16(header->count);

	if (count == MOLD_HEARTBEAT || count == MOLD_END_OF_SESSION)
		return 0;
	if (MOLD_HEADER_LENGTH + 2 * count > payload_length)
		return 0;

	u32 offset = MOLD_HEADER_LENGTH;
	u32 walked = 0;

	for (; walked < BLOCKS_WALKED_MAX; walked++) {
		if (walked == count)
			break;
		/* Without a bound of its own on every round the verifier loses sight of the packet's end. */
		if (offset > PAYLOAD_MAX || offset + 2 > payload_length)
			return 0;

		const u16 *length = (const void *)(payload + offset);

		if ((const void *)(length + 1) > end)
			return 0;
		offset += 2 + FROM_BE16(*length);
	}
	return offset + 2 * (count - walked) <= payload_length;
}

static ALWAYS_INLINE int within_rate(const struct settings *set, struct source_v6 *source)
{
	u64 now = bpf_ktime_get_ns();

	source->prefix_length = 0;

	u64 *due = bpf_map_lookup_elem(&buckets, source);

	if (!due) {
		u64 first = now + set->interval_ns;

		/* Lost against another CPU: that one opened the bucket, this datagram is the burst's. */
		bpf_map_update_elem(&buckets, source, &first, BPF_NOEXIST);
		return 1;
	}
	for (u32 retry = 0; retry < BUCKET_RETRIES_MAX; retry++) {
		u64 seen = *(volatile u64 *)due;
		u64 start = seen > now ? seen : now;

		if (start - now > set->burst_ns)
			return 0;
		if (__sync_val_compare_and_swap(due, seen, start + set->interval_ns) == seen)
			return 1;
	}
	return 0;
}

SECTION("xdp") int steer(struct xdp_md *context)
{
	const void *data = (const void *)(long)context->data;
	const void *end = (const void *)(long)context->data_end;
	const struct ethernet *ethernet = data;

	if ((const void *)(ethernet + 1) > end)
		return conclude(PASSED_NOT_UDP, XDP_PASS);

	u16 type = ethernet->type;
	const void *cursor = ethernet + 1;

#pragma unroll
	for (int tag = 0; tag < VLAN_TAGS_MAX; tag++) {
		if (type == TO_BE16(ETHERTYPE_VLAN) || type == TO_BE16(ETHERTYPE_QINQ)) {
			const struct vlan *vlan = cursor;

			if ((const void *)(vlan + 1) > end)
				return conclude(PASSED_NOT_UDP, XDP_PASS);
			type = vlan->type;
			cursor = vlan + 1;
		}
	}

	/* v4 sources are looked up as v4-mapped ones where one table serves both. */
	struct source_v6 source = { .prefix_length = 128 };
	struct source_v4 source_v4 = { .prefix_length = 32 };
	struct address destination = {};
	const struct udp *udp;
	u32 room;
	int is_v4 = type == TO_BE16(ETHERTYPE_IPV4);

	if (is_v4) {
		const struct ipv4 *ip = cursor;

		if ((const void *)(ip + 1) > end || ip->protocol != PROTOCOL_UDP)
			return conclude(PASSED_NOT_UDP, XDP_PASS);
		if (ip->version_and_length != IPV4_VERSION_AND_LENGTH_PLAIN)
			return conclude(PASSED_IP_OPTIONS, XDP_PASS);
		if (ip->fragment & TO_BE16(IPV4_FRAGMENT_MASK))
			return conclude(PASSED_FRAGMENT, XDP_PASS);
		room = FROM_BE16(ip->total_length);
		room = room < sizeof(*ip) ? 0 : room - sizeof(*ip);
		__builtin_memcpy(source_v4.address, ip->source, 4);
		source.address[10] = 0xff;
		source.address[11] = 0xff;
		__builtin_memcpy(source.address + 12, ip->source, 4);
		destination.octets[10] = 0xff;
		destination.octets[11] = 0xff;
		__builtin_memcpy(destination.octets + 12, ip->destination, 4);
		udp = (const void *)(ip + 1);
	} else if (type == TO_BE16(ETHERTYPE_IPV6)) {
		const struct ipv6 *ip = cursor;

		if ((const void *)(ip + 1) > end)
			return conclude(PASSED_NOT_UDP, XDP_PASS);
		if (is_extension_header(ip->next_header))
			return conclude(PASSED_EXTENSION_HEADER, XDP_PASS);
		if (ip->next_header != PROTOCOL_UDP)
			return conclude(PASSED_NOT_UDP, XDP_PASS);
		room = FROM_BE16(ip->payload_length);
		__builtin_memcpy(source.address, ip->source, 16);
		__builtin_memcpy(destination.octets, ip->destination, 16);
		udp = (const void *)(ip + 1);
	} else {
		return conclude(PASSED_NOT_UDP, XDP_PASS);
	}
	if ((const void *)(udp + 1) > end)
		return conclude(PASSED_NOT_UDP, XDP_PASS);

	u32 port = FROM_BE16(udp->destination);
	u32 *queue = bpf_map_lookup_elem(&ports, &port);

	if (!queue || !*queue)
		return conclude(PASSED_OTHER_PORT, XDP_PASS);
	/* Other programs' addresses, what the host forwards, groups and broadcasts: the kernel's. */
	if (!bpf_map_lookup_elem(&addresses, &destination))
		return conclude(PASSED_OTHER_ADDRESS, XDP_PASS);
	if (*queue != ANY_QUEUE && *queue != context->rx_queue_index + 1)
		return conclude(PASSED_OTHER_QUEUE, XDP_PASS);

	u32 length = FROM_BE16(udp->length);

	if (length < UDP_HEADER_LENGTH || length > room || length > (u64)(end - (const void *)udp))
		return conclude(DROPPED_BAD_LENGTH, XDP_DROP);

	u32 zero = 0;
	const struct settings *set = bpf_map_lookup_elem(&settings, &zero);

	if (!set)
		return conclude(PASSED_OTHER_PORT, XDP_PASS);
	if (set->check_mold) {
		if (length < UDP_HEADER_LENGTH + MOLD_HEADER_LENGTH)
			return conclude(DROPPED_SHORT, XDP_DROP);
		if (!mold_fits((const void *)(udp + 1), length - UDP_HEADER_LENGTH, end))
			return conclude(DROPPED_MOLD_LENGTH, XDP_DROP);
	}
	if (set->check_source) {
		const void *entry = is_v4 ? bpf_map_lookup_elem(&allowed_v4, &source_v4)
					  : bpf_map_lookup_elem(&allowed_v6, &source);

		if (!entry)
			return conclude(DROPPED_NOT_ALLOWED, XDP_DROP);
	}
	if (set->interval_ns && !within_rate(set, &source))
		return conclude(DROPPED_OVER_RATE, XDP_DROP);

	/* A queue without a socket falls through to the kernel: UDP fallback and engine restarts depend on it. */
	int action = bpf_redirect_map(&xsks, context->rx_queue_index, XDP_PASS);

	return action == XDP_REDIRECT ? conclude(REDIRECTED, action) : conclude(PASSED_NO_SOCKET, action);
}

char license_text[] SECTION("license") = "Apache-2.0";
