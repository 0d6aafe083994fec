//! Finds live orders by (party, user reference), and walks an owner's live orders in the order of their entry. No rules.
//!
//! References count up per party, so orders that live at the same time have neighbouring references. Eight neighbours
//! share one bucket, which is one cache line; an owner's buckets form a list in the order of their creation. The bucket
//! an owner used last is found without hashing. Others are found through a table of chains in which the heads of sixteen
//! neighbouring buckets lie in the same cache line. The table is keyed with a secret: nobody can choose references
//! that collide. Nothing is reported in the order of the table, so the secret does not influence any output.

use crate::ladder::NIL;
use crate::types::{OrderKey, Party, Reject};

const SLOT_BITS: u32 = 3;
const SLOTS: usize = 1 << SLOT_BITS;
/// Heads in one cache line.
const LINE: usize = 16;

/// Eight neighbouring references of one party.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    block: Block,
    slots: [u32; SLOTS],
    live: u32,
    /// The next bucket with the same head.
    chain: u32,
    head: u32,
    /// Among the owner's buckets. `next` is also what joins the free ones.
    next: u32,
    previous: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    const VACANT: Self = Self {
        block: Block(0),
        slots: [NIL; SLOTS],
        live: 0,
        chain: NIL,
        head: NIL,
        next: NIL,
        previous: NIL,
    };
}

/// The party, and the reference / 8.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Block(u64);

impl Block {
    #[inline]
    fn of(key: OrderKey) -> Self {
        Self(u64::from(key.party.raw()) << 32 | u64::from(key.user_ref >> SLOT_BITS))
    }

    #[inline]
    fn owner(self) -> usize {
        (self.0 >> 40) as usize
    }
}

#[inline]
fn slot_of(user_ref: u32) -> usize {
    user_ref as usize & (SLOTS - 1)
}

#[derive(Clone, Copy)]
struct Owner {
    first: u32,
    last: u32,
    /// Orders filed.
    live: u32,
}

/// Where a key that is not in use would be filed: the bucket of its block, or `NIL` if there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vacancy(u32);

/// All live orders by key.
pub(crate) struct Lookup {
    buckets: Vec<Bucket>,
    free: u32,
    heads: Vec<u32>,
    mask: usize,
    secret: u64,
    multiplier: u64,
    owners: Vec<Owner>,
}

impl Lookup {
    pub fn new(orders: u32, owners: u32, seed: u64) -> Self {
        // At worst every order has a bucket of its own; then there is a head for each.
        let heads = (orders as usize).next_power_of_two().max(LINE * 4);
        let next = |next| if next == orders { NIL } else { next };
        Self {
            buckets: (1..=orders).map(|at| Bucket { next: next(at), ..Bucket::VACANT }).collect(),
            free: next(0),
            heads: vec![NIL; heads],
            mask: (heads - 1) & !(LINE - 1),
            secret: seed,
            multiplier: (seed.rotate_left(32) ^ 0xD6E8_FEB8_6659_FD93) | 1,
            owners: vec![Owner { first: NIL, last: NIL, live: 0 }; owners as usize],
        }
    }

    pub fn owner_count(&self) -> u32 {
        self.owners.len() as u32
    }

    #[inline]
    pub fn live(&self, owner: u32) -> u32 {
        self.owners.get(owner as usize).map_or(0, |owner| owner.live)
    }

    /// Where the chain of a block begins: the line by a keyed hash, the head within the line by neighbourhood.
    #[inline]
    fn head(&self, block: Block) -> usize {
        let word = block.0 / LINE as u64;
        let product = u128::from(word ^ self.secret) * u128::from(self.multiplier);
        let hash = (product as u64) ^ (product >> 64) as u64;
        (hash as usize & self.mask) | (block.0 as usize & (LINE - 1))
    }

    #[inline]
    pub fn find(&self, key: OrderKey) -> Option<u32> {
        let block = Block::of(key);
        let mut at = self.heads[self.head(block)];
        while let Some(bucket) = self.buckets.get(at as usize) {
            if bucket.block == block {
                let handle = bucket.slots[slot_of(key.user_ref)];
                return (handle != NIL).then_some(handle);
            }
            at = bucket.chain;
        }
        None
    }

    /// Where to file a new order. Looks at the owner's latest bucket first: new references follow the latest. Stays good until
    /// the next insertion: removals may empty its bucket, which `insert` notices.
    #[inline(always)]
    pub fn vacancy(&self, key: OrderKey) -> Result<Vacancy, Reject> {
        let block = Block::of(key);
        let Some(&Owner { last, .. }) = self.owners.get(block.owner()) else {
            return Err(Reject::UnknownOwner(key.party.owner()));
        };
        let found = match self.buckets.get(last as usize) {
            Some(bucket) if bucket.block == block => last,
            _ => self.find_bucket(block),
        };
        match self.buckets.get(found as usize) {
            Some(bucket) if bucket.slots[slot_of(key.user_ref)] != NIL => Err(Reject::DuplicateKey(key)),
            _ => Ok(Vacancy(found)),
        }
    }

    #[cold]
    fn find_bucket(&self, block: Block) -> u32 {
        let mut at = self.heads[self.head(block)];
        while let Some(bucket) = self.buckets.get(at as usize) {
            if bucket.block == block {
                return at;
            }
            at = bucket.chain;
        }
        NIL
    }

    /// Files an order whose owner exists where its key was found vacant. Returns its bucket. There is room: never more
    /// buckets than orders.
    #[inline(always)]
    pub fn insert(&mut self, key: OrderKey, vacancy: Vacancy, handle: u32) -> u32 {
        let mut bucket = vacancy.0;
        // A bucket without live orders has been given up since.
        if self.buckets.get(bucket as usize).is_none_or(|bucket| bucket.live == 0) {
            bucket = self.add_bucket(key);
        }
        if let Some(found) = self.buckets.get_mut(bucket as usize) {
            found.slots[slot_of(key.user_ref)] = handle;
            found.live += 1;
            self.owners[key.party.owner() as usize].live += 1;
        }
        bucket
    }

    #[cold]
    fn add_bucket(&mut self, key: OrderKey) -> u32 {
        let block = Block::of(key);
        let head = self.head(block);
        let bucket = self.free;
        let Some(found) = self.buckets.get_mut(bucket as usize) else { return NIL };
        self.free = found.next;
        let owner = &mut self.owners[block.owner()];
        let previous = core::mem::replace(&mut owner.last, bucket);
        found.block = block;
        found.chain = core::mem::replace(&mut self.heads[head], bucket);
        found.head = head as u32;
        (found.next, found.previous) = (NIL, previous);
        match self.buckets.get_mut(previous as usize) {
            Some(previous) => previous.next = bucket,
            None => owner.first = bucket,
        }
        bucket
    }

    /// Gives a filed order another handle.
    pub fn refile(&mut self, bucket: u32, user_ref: u32, handle: u32) {
        self.buckets[bucket as usize].slots[slot_of(user_ref)] = handle;
    }

    #[inline(always)]
    pub fn remove(&mut self, bucket: u32, user_ref: u32) {
        let found = &mut self.buckets[bucket as usize];
        found.slots[slot_of(user_ref)] = NIL;
        found.live -= 1;
        self.owners[found.block.owner()].live -= 1;
        if found.live == 0 {
            self.remove_bucket(bucket);
        }
    }

    #[cold]
    fn remove_bucket(&mut self, bucket: u32) {
        let found = &mut self.buckets[bucket as usize];
        let Bucket { block, next, previous, chain, head, .. } = *found;
        found.next = core::mem::replace(&mut self.free, bucket);
        let owner = &mut self.owners[block.owner()];
        match self.buckets.get_mut(next as usize) {
            Some(next) => next.previous = previous,
            None => owner.last = previous,
        }
        match self.buckets.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => owner.first = next,
        }
        let mut at = core::mem::replace(&mut self.heads[head as usize], chain);
        if at == bucket {
            return;
        }
        // Somewhere in the chain: its head stays, and the one before it is joined to the one after.
        self.heads[head as usize] = at;
        while let Some(found) = self.buckets.get_mut(at as usize) {
            if found.chain == bucket {
                found.chain = chain;
                return;
            }
            at = found.chain;
        }
    }

    /// First step of `find`, for warming: the first bucket of the key's chain, which usually is its bucket.
    #[inline]
    pub fn warm_index(&self, key: OrderKey) -> u32 {
        self.heads[self.head(Block::of(key))]
    }

    /// Second step: the handle in that bucket, if it is the key's bucket.
    #[inline]
    pub fn warm_slot(&self, bucket: u32, key: OrderKey) -> u32 {
        match self.buckets.get(bucket as usize) {
            Some(bucket) if bucket.block == Block::of(key) => bucket.slots[slot_of(key.user_ref)],
            _ => NIL,
        }
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
