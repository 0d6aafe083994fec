//! Finds live orders by (party, user reference), and walks an owner's live orders in the order of their entry. No rules.
//!
//! References count up per party, so orders that live at the same time have neighbouring references. Eight neighbours
//! share one bucket, which is one cache line; an owner's buckets form a list in the order of their creation. The bucket
//! an owner used last is found without hashing. Others are found through an open-addressed index in which sixteen
//! neighbouring buckets start in the same cache line. The index is keyed with a secret: nobody can choose references
//! that collide. Nothing is reported in the order of the index, so the secret does not influence any output.

use crate::ladder::NIL;
use crate::types::{OrderKey, Party};

const SLOT_BITS: u32 = 3;
const SLOTS: usize = 1 << SLOT_BITS;
/// Index entries in one cache line.
const LINE: usize = 16;

/// Eight neighbouring references of one party.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    party: u32,
    /// Reference / 8.
    block: u32,
    next: u32,
    previous: u32,
    slots: [u32; SLOTS],
    live: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    const VACANT: Self = Self { party: 0, block: 0, next: NIL, previous: NIL, slots: [NIL; SLOTS], live: 0 };
}

#[derive(Clone, Copy)]
struct Owner {
    first: u32,
    last: u32,
    live: u32,
}

/// Where an order is filed. Valid until the next insertion or removal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    bucket: u32,
    slot: u32,
}

/// All live orders by key.
pub(crate) struct Lookup {
    buckets: Vec<Bucket>,
    free: Vec<u32>,
    index: Vec<u32>,
    mask: usize,
    seed: u64,
    owners: Vec<Owner>,
}

impl Lookup {
    pub fn new(orders: u32, owners: u32, seed: u64) -> Self {
        // At worst every order has a bucket of its own; then the index is half full.
        let index = (orders as usize * 2).next_power_of_two().max(LINE * 4);
        Self {
            buckets: vec![Bucket::VACANT; orders as usize],
            free: (0..orders).rev().collect(),
            index: vec![NIL; index],
            mask: index - 1,
            seed,
            owners: vec![Owner { first: NIL, last: NIL, live: 0 }; owners as usize],
        }
    }

    pub fn owner_count(&self) -> u32 {
        self.owners.len() as u32
    }

    pub fn live(&self, owner: u32) -> u32 {
        self.owners.get(owner as usize).map_or(0, |owner| owner.live)
    }

    /// Where a bucket's index entry would ideally be: the line by a keyed hash, the entry within the line by neighbourhood.
    #[inline]
    fn home(&self, party: u32, block: u32) -> usize {
        let key = u64::from(party) << 32 | u64::from(block / LINE as u32);
        let product = u128::from(key ^ self.seed) * u128::from(self.seed.rotate_left(32) | 1);
        let folded = (product as u64) ^ (product >> 64) as u64;
        let product = u128::from(folded) * 0x9E37_79B9_7F4A_7C15_u128;
        let hash = (product as u64) ^ (product >> 64) as u64;
        (hash as usize & self.mask & !(LINE - 1)) | (block as usize & (LINE - 1))
    }

    #[inline]
    fn find_bucket(&self, party: u32, block: u32) -> Option<u32> {
        let mut at = self.home(party, block);
        loop {
            let bucket = self.index[at & self.mask];
            if bucket == NIL {
                return None;
            }
            let node = &self.buckets[bucket as usize];
            if node.block == block && node.party == party {
                return Some(bucket);
            }
            at += 1;
        }
    }

    #[inline]
    pub fn find(&self, key: OrderKey) -> Option<(u32, Place)> {
        let bucket = self.find_bucket(key.party.raw(), key.user_ref >> SLOT_BITS)?;
        let slot = key.user_ref & (SLOTS as u32 - 1);
        let handle = self.buckets[bucket as usize].slots[slot as usize];
        (handle != NIL).then_some((handle, Place { bucket, slot }))
    }

    /// Whether the key is in use. Looks at the owner's latest bucket first: new references follow the latest.
    #[inline]
    pub fn contains(&self, key: OrderKey) -> bool {
        match self.latest(key) {
            Some(bucket) => {
                self.buckets[bucket as usize].slots[(key.user_ref & (SLOTS as u32 - 1)) as usize] != NIL
            }
            None => self.find(key).is_some(),
        }
    }

    #[inline]
    fn latest(&self, key: OrderKey) -> Option<u32> {
        let last = self.owners.get(key.party.owner() as usize)?.last;
        let bucket = self.buckets.get(last as usize)?;
        (bucket.block == key.user_ref >> SLOT_BITS && bucket.party == key.party.raw()).then_some(last)
    }

    /// Files an order whose key is not in use and whose owner exists. There is room: never more buckets than orders.
    #[inline]
    pub fn insert(&mut self, key: OrderKey, handle: u32) {
        let (party, block) = (key.party.raw(), key.user_ref >> SLOT_BITS);
        let bucket = match self.latest(key).or_else(|| self.find_bucket(party, block)) {
            Some(bucket) => bucket,
            None => match self.add_bucket(key, party, block) {
                Some(bucket) => bucket,
                None => return,
            },
        };
        let node = &mut self.buckets[bucket as usize];
        node.slots[(key.user_ref & (SLOTS as u32 - 1)) as usize] = handle;
        node.live += 1;
        self.owners[key.party.owner() as usize].live += 1;
    }

    fn add_bucket(&mut self, key: OrderKey, party: u32, block: u32) -> Option<u32> {
        let bucket = self.free.pop()?;
        let owner = &mut self.owners[key.party.owner() as usize];
        let previous = owner.last;
        owner.last = bucket;
        if previous == NIL {
            owner.first = bucket;
        } else {
            self.buckets[previous as usize].next = bucket;
        }
        self.buckets[bucket as usize] = Bucket { party, block, previous, ..Bucket::VACANT };
        let mut at = self.home(party, block);
        while self.index[at & self.mask] != NIL {
            at += 1;
        }
        self.index[at & self.mask] = bucket;
        Some(bucket)
    }

    /// Gives a filed order another handle.
    pub fn refile(&mut self, key: OrderKey, handle: u32) {
        if let Some((_, place)) = self.find(key) {
            self.buckets[place.bucket as usize].slots[place.slot as usize] = handle;
        }
    }

    #[inline]
    pub fn remove(&mut self, place: Place) {
        let bucket = &mut self.buckets[place.bucket as usize];
        bucket.slots[place.slot as usize] = NIL;
        bucket.live -= 1;
        let (empty, owner) = (bucket.live == 0, bucket.party >> 8);
        self.owners[owner as usize].live -= 1;
        if empty {
            self.remove_bucket(place.bucket);
        }
    }

    fn remove_bucket(&mut self, bucket: u32) {
        let Bucket { party, block, next, previous, .. } = self.buckets[bucket as usize];
        let owner = &mut self.owners[(party >> 8) as usize];
        if next == NIL {
            owner.last = previous;
        } else {
            self.buckets[next as usize].previous = previous;
        }
        if previous == NIL {
            owner.first = next;
        } else {
            self.buckets[previous as usize].next = next;
        }
        self.free.push(bucket);
        let mut hole = self.home(party, block);
        while self.index[hole & self.mask] != bucket {
            hole += 1;
        }
        // Backward shift: later entries of the same run move up, so that searches may stop at the first empty entry.
        let mut at = hole;
        loop {
            at += 1;
            let entry = self.index[at & self.mask];
            if entry == NIL {
                break;
            }
            let node = &self.buckets[entry as usize];
            let home = self.home(node.party, node.block);
            let distance = at.wrapping_sub(home) & self.mask;
            if distance >= at - hole {
                self.index[hole & self.mask] = entry;
                hole = at;
            }
        }
        self.index[hole & self.mask] = NIL;
    }

    /// First step of `find`, for warming: the bucket at the ideal place of the key, which usually is its bucket.
    #[inline]
    pub fn warm_index(&self, key: OrderKey) -> u32 {
        self.index[self.home(key.party.raw(), key.user_ref >> SLOT_BITS)]
    }

    /// Second step: the handle in that bucket, if it is the key's bucket.
    #[inline]
    pub fn warm_slot(&self, bucket: u32, key: OrderKey) -> u32 {
        self.buckets.get(bucket as usize).map_or(NIL, |node| {
            let own = node.block == key.user_ref >> SLOT_BITS && node.party == key.party.raw();
            if own { node.slots[(key.user_ref & (SLOTS as u32 - 1)) as usize] } else { NIL }
        })
    }

    /// Touches a bucket from which an order may be removed.
    #[inline]
    pub fn warm_bucket(&self, bucket: u32) -> u32 {
        self.buckets.get(bucket as usize).map_or(0, |node| node.live)
    }

    /// Where a new order of this party will probably be filed.
    #[inline]
    pub fn warm_latest(&self, party: Party) -> u32 {
        self.owners.get(party.owner() as usize).map_or(NIL, |owner| owner.last)
    }

    /// An owner's live orders in the order of their entry; within one block of eight references, by reference.
    pub fn owned(&self, owner: u32) -> impl Iterator<Item = u32> + '_ {
        let mut bucket = self.owners.get(owner as usize).map_or(NIL, |owner| owner.first);
        let mut slot = 0;
        core::iter::from_fn(move || {
            while bucket != NIL {
                let node = &self.buckets[bucket as usize];
                while slot < SLOTS {
                    slot += 1;
                    if node.slots[slot - 1] != NIL {
                        return Some(node.slots[slot - 1]);
                    }
                }
                (bucket, slot) = (node.next, 0);
            }
            None
        })
    }

    /// Steps through an owner's buckets while the caller removes orders: start with `None`; gives up to eight handles.
    pub fn next_block(&self, owner: u32, after: Option<u32>) -> Option<(u32, [u32; SLOTS])> {
        let bucket = match after {
            Some(bucket) => bucket,
            None => self.owners.get(owner as usize)?.first,
        };
        let node = self.buckets.get(bucket as usize)?;
        Some((node.next, node.slots))
    }
}
