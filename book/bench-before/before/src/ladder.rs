//! The price levels of one side of one book, found by price: a 64-ary trie of bitmaps over tick keys. Knows no orders.
//!
//! A key is the tick number, mirrored for buys, so that the smallest key is the best price on either side and one piece
//! of code serves both. The trie is only as high as the prices in it are apart: all within 64 ticks is one node, within
//! 4,096 two. The leaf used last is remembered, so work near the touch reaches its level without a descent.

/// No node, level or order.
pub(crate) const NIL: u32 = u32::MAX;

/// Keys are below this (31 bits).
pub(crate) const KEY_LIMIT: u32 = 1 << 31;

/// Node levels that 31-bit keys can need: 6 bits each.
pub(crate) const HEIGHT_MAX: usize = 6;

const BITS: u32 = 6;
const MASK: u32 = 63;

/// Nodes of all tries.
pub(crate) struct Nodes {
    occupied: Vec<u64>,
    slots: Vec<[u32; 64]>,
    free: Vec<u32>,
}

impl Nodes {
    pub fn new(count: u32) -> Self {
        Self {
            occupied: vec![0; count as usize],
            slots: vec![[NIL; 64]; count as usize],
            free: (0..count).rev().collect(),
        }
    }

    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    fn allocate(&mut self) -> Option<u32> {
        let node = self.free.pop()?;
        self.occupied[node as usize] = 0;
        Some(node)
    }

    fn release(&mut self, node: u32) {
        self.free.push(node);
    }

    #[inline]
    fn set(&mut self, node: u32, slot: u32, value: u32) {
        self.occupied[node as usize] |= 1 << slot;
        self.slots[node as usize][slot as usize] = value;
    }

    #[inline]
    fn get(&self, node: u32, slot: u32) -> Option<u32> {
        (self.occupied[node as usize] >> slot & 1 != 0).then(|| self.slots[node as usize][slot as usize])
    }
}

/// One side of one book. 32 bytes: both sides of an instrument share a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(crate) struct Ladder {
    /// Key of the best level; `NIL` when there is none, which is worse than every key.
    best_key: u32,
    best_level: u32,
    /// The leaf used last, and the keys in it (key / 64).
    leaf: u32,
    leaf_prefix: u32,
    root: u32,
    /// All keys have this value above the bits that the root and what is below it resolve.
    prefix: u32,
    /// Node levels below the root.
    height: u32,
    levels: u32,
}

const _: () = assert!(size_of::<Ladder>() == 32);

#[inline]
fn above(key: u32, height: u32) -> u32 {
    (u64::from(key) >> (BITS * (height + 1))) as u32
}

#[inline]
fn digit(key: u32, height: u32) -> u32 {
    key >> (BITS * height) & MASK
}

impl Ladder {
    pub const EMPTY: Self = Self {
        best_key: NIL,
        best_level: NIL,
        leaf: NIL,
        leaf_prefix: NIL,
        root: NIL,
        prefix: 0,
        height: 0,
        levels: 0,
    };

    #[inline]
    pub fn best_key(&self) -> u32 {
        self.best_key
    }

    #[inline]
    pub fn best_level(&self) -> u32 {
        self.best_level
    }

    #[inline]
    pub fn levels(&self) -> u32 {
        self.levels
    }

    /// The level at `key`, if there is one.
    #[inline]
    pub fn get(&mut self, nodes: &Nodes, key: u32) -> Option<u32> {
        if self.leaf_prefix == key >> BITS {
            return nodes.get(self.leaf, key & MASK);
        }
        let leaf = self.find_leaf(nodes, key)?;
        self.leaf = leaf;
        self.leaf_prefix = key >> BITS;
        nodes.get(leaf, key & MASK)
    }

    /// The level at `key` if its leaf is the one used last, for warming.
    #[inline]
    pub fn warm(&self, nodes: &Nodes, key: u32) -> u32 {
        if self.leaf_prefix == key >> BITS { nodes.get(self.leaf, key & MASK).unwrap_or(NIL) } else { NIL }
    }

    /// Touches the leaf used last, in case a level leaves it.
    #[inline]
    pub fn warm_leaf(&self, nodes: &Nodes) -> u32 {
        nodes.occupied.get(self.leaf as usize).map_or(0, |&occupied| occupied as u32)
    }

    fn find_leaf(&self, nodes: &Nodes, key: u32) -> Option<u32> {
        if self.root == NIL || above(key, self.height) != self.prefix {
            return None;
        }
        let mut node = self.root;
        for height in (1..=self.height).rev() {
            node = nodes.get(node, digit(key, height))?;
        }
        Some(node)
    }

    /// Puts `level` at `key`, where there is none. The caller has made sure that [`HEIGHT_MAX`] + 1 nodes are free.
    /// Returns false, and leaves a consistent trie, if they were not.
    pub fn insert(&mut self, nodes: &mut Nodes, key: u32, level: u32) -> bool {
        if self.leaf_prefix != key >> BITS {
            let Some(leaf) = self.make_leaf(nodes, key) else { return false };
            self.leaf = leaf;
            self.leaf_prefix = key >> BITS;
        }
        nodes.set(self.leaf, key & MASK, level);
        self.levels += 1;
        if key < self.best_key {
            self.best_key = key;
            self.best_level = level;
        }
        true
    }

    fn make_leaf(&mut self, nodes: &mut Nodes, key: u32) -> Option<u32> {
        if nodes.free_count() <= HEIGHT_MAX {
            return None;
        }
        if self.root == NIL {
            self.root = nodes.allocate()?;
            self.height = 0;
            self.prefix = above(key, 0);
            return Some(self.root);
        }
        while above(key, self.height) != self.prefix {
            let root = nodes.allocate()?;
            nodes.set(root, self.prefix & MASK, self.root);
            self.root = root;
            self.prefix >>= BITS;
            self.height += 1;
        }
        let mut node = self.root;
        for height in (1..=self.height).rev() {
            node = match nodes.get(node, digit(key, height)) {
                Some(child) => child,
                None => {
                    let child = nodes.allocate()?;
                    nodes.set(node, digit(key, height), child);
                    child
                }
            };
        }
        Some(node)
    }

    /// Takes the level at `key` out.
    pub fn remove(&mut self, nodes: &mut Nodes, key: u32) {
        let leaf = if self.leaf_prefix == key >> BITS {
            self.leaf
        } else {
            match self.find_leaf(nodes, key) {
                Some(leaf) => leaf,
                None => return,
            }
        };
        let occupied = &mut nodes.occupied[leaf as usize];
        *occupied &= !(1 << (key & MASK));
        let left = *occupied;
        self.levels -= 1;
        if left == 0 {
            self.prune(nodes, key, leaf);
        }
        if key == self.best_key {
            if left != 0 {
                // The best key was the lowest bit of its leaf, so the next best is the lowest one left.
                let slot = left.trailing_zeros();
                self.best_key = key & !MASK | slot;
                self.best_level = nodes.slots[leaf as usize][slot as usize];
            } else {
                (self.best_key, self.best_level) = self.first(nodes).unwrap_or((NIL, NIL));
            }
        }
    }

    /// Releases an emptied leaf, the nodes above it that it empties, and roots with a single child.
    fn prune(&mut self, nodes: &mut Nodes, key: u32, leaf: u32) {
        if self.leaf == leaf {
            self.leaf = NIL;
            self.leaf_prefix = NIL;
        }
        let mut path = [NIL; HEIGHT_MAX];
        let mut node = self.root;
        for height in (1..=self.height).rev() {
            path[height as usize] = node;
            node = nodes.slots[node as usize][digit(key, height) as usize];
        }
        nodes.release(leaf);
        let mut height = 1;
        loop {
            if height > self.height {
                self.root = NIL;
                self.height = 0;
                return;
            }
            let parent = path[height as usize];
            let occupied = &mut nodes.occupied[parent as usize];
            *occupied &= !(1 << digit(key, height));
            if *occupied != 0 {
                break;
            }
            nodes.release(parent);
            height += 1;
        }
        while self.height > 0 && nodes.occupied[self.root as usize].is_power_of_two() {
            let slot = nodes.occupied[self.root as usize].trailing_zeros();
            let child = nodes.slots[self.root as usize][slot as usize];
            nodes.release(self.root);
            self.root = child;
            self.prefix = self.prefix << BITS | slot;
            self.height -= 1;
        }
    }

    fn first(&self, nodes: &Nodes) -> Option<(u32, u32)> {
        self.at_or_after(nodes, 0)
    }

    /// The best level whose key is not below `key`.
    pub fn at_or_after(&self, nodes: &Nodes, key: u32) -> Option<(u32, u32)> {
        self.neighbour(nodes, key, |occupied, slot, including| {
            let from = if including { slot } else { slot + 1 };
            let left = if from > 63 { 0 } else { occupied & (!0 << from) };
            (left != 0).then(|| left.trailing_zeros())
        })
        .or_else(|| {
            let below_all = self.root != NIL && above(key, self.height) < self.prefix;
            below_all.then(|| self.descend(nodes, self.root, self.height, self.prefix, u64::trailing_zeros))
        })
    }

    /// The worst level whose key is not above `key`.
    pub fn at_or_before(&self, nodes: &Nodes, key: u32) -> Option<(u32, u32)> {
        self.neighbour(nodes, key, |occupied, slot, including| {
            let upto = if including { slot + 1 } else { slot };
            let left = if upto > 63 { occupied } else { occupied & !(!0 << upto) };
            (left != 0).then(|| 63 - left.leading_zeros())
        })
        .or_else(|| {
            let above_all = self.root != NIL && above(key, self.height) > self.prefix;
            above_all.then(|| {
                self.descend(nodes, self.root, self.height, self.prefix, |bits| 63 - bits.leading_zeros())
            })
        })
    }

    /// Follows `key` down as far as it goes, then takes the closest branch that `pick` allows. `None` if there is none or
    /// the key lies outside the trie.
    fn neighbour(
        &self,
        nodes: &Nodes,
        key: u32,
        pick: impl Fn(u64, u32, bool) -> Option<u32>,
    ) -> Option<(u32, u32)> {
        if self.root == NIL || above(key, self.height) != self.prefix {
            return None;
        }
        let mut path = [NIL; HEIGHT_MAX];
        let mut node = self.root;
        let mut height = self.height;
        loop {
            path[height as usize] = node;
            if height == 0 {
                break;
            }
            match nodes.get(node, digit(key, height)) {
                Some(child) => node = child,
                None => break,
            }
            height -= 1;
        }
        let mut including = height == 0;
        loop {
            let node = path[height as usize];
            if let Some(slot) = pick(nodes.occupied[node as usize], digit(key, height), including) {
                let value = nodes.slots[node as usize][slot as usize];
                let prefix = above(key, height) << BITS | slot;
                if height == 0 {
                    return Some((prefix, value));
                }
                let ascending = slot > digit(key, height);
                return Some(self.descend(nodes, value, height - 1, prefix, |bits| {
                    if ascending { bits.trailing_zeros() } else { 63 - bits.leading_zeros() }
                }));
            }
            if height == self.height {
                return None;
            }
            height += 1;
            including = false;
        }
    }

    fn descend(
        &self,
        nodes: &Nodes,
        mut node: u32,
        mut height: u32,
        mut prefix: u32,
        pick: impl Fn(u64) -> u32,
    ) -> (u32, u32) {
        loop {
            let slot = pick(nodes.occupied[node as usize]);
            let value = nodes.slots[node as usize][slot as usize];
            prefix = prefix << BITS | slot;
            if height == 0 {
                return (prefix, value);
            }
            node = value;
            height -= 1;
        }
    }
}
