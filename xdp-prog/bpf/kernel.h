/* The few declarations of the kernel's BPF interface that the program uses, written out here so that no header package is
 * needed. Not a general helper library: numbers and layouts are those of Linux' stable user ABI (include/uapi/linux/bpf.h). */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum xdp_action { XDP_ABORTED = 0, XDP_DROP = 1, XDP_PASS = 2, XDP_TX = 3, XDP_REDIRECT = 4 };

/* The context as the verifier presents it: it rewrites each access to the driver's own structure. */
struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_XSKMAP = 17,
};

/* An LPM trie can only be made without preallocation. */
enum { BPF_F_NO_PREALLOC = 1 };
enum { BPF_NOEXIST = 1 };

/* A helper is called by its number: the verifier patches in the address. */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static long (*const bpf_redirect_map)(void *map, u64 key, u64 flags) = (void *)51;

#define SECTION(name) __attribute__((section(name), used))
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Map definitions in BTF: the loader reads the numbers from array dimensions of pointer members. */
#define MAP_UINT(name, value) int(*name)[value]
#define MAP_TYPE(name, type) type *name

/* Everything here is compiled for a little-endian host (x86-64, arm64). */
#define FROM_BE16(value) __builtin_bswap16(value)
#define TO_BE16(value) __builtin_bswap16(value)
