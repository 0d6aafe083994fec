//! The price levels of one side of one book, found by price: a 64-ary trie of bitmaps over tick keys. Knows no orders.
//!
//! A key is the tick number, mirrored for buys, so that the smallest key is the best price on either side and one piece
//! of code serves both. The lowest node is a leaf of 64 ticks, the one above it a page of 64 leaves: 4,096 ticks. A side
//! remembers the page it used last, so a level near the touch is two loads away wherever in the page it is, and the next
//! best is found by counting trailing zeros. The trie is only as high as the prices in it are apart; nodes are taken
//! where prices are, so thousands of instruments with a few levels each cost no more than their levels.

/// No node, level or order.
pub(crate) const NIL: u32 = u32::MAX;

/// Keys are below this (31 bits).
pub(crate) const KEY_LIMIT: u32 = 1 << 31;

/// Height of the root that all 31-bit keys need: 6 bits each level, leaves at 0.
const HEIGHT_MAX: usize = 5;

/// Nodes that one more level can need at most: the root grows from a page's height to the greatest, and what is below it
/// down to the leaf is new.
pub(crate) const INSERT_NODES: usize = HEIGHT_MAX - 1 + HEIGHT_MAX;

const BITS: u32 = 6;
const MASK: u32 = 63;
/// Key bits that a page resolves.
const PAGE_BITS: u32 = 2 * BITS;

/// Nodes of all tries: 64 neighbours each, levels by tick in a leaf, nodes elsewhere. What a free one has in its slots is `NIL`.
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

    #[inline]
    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    fn allocate(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Only for a node without occupied slots.
    fn release(&mut self, node: u32) {
        self.free.push(node);
    }

    #[inline]
    fn set(&mut self, node: u32, slot: u32, value: u32) {
        self.occupied[node as usize] |= 1 << (slot & MASK);
        self.slots[node as usize][(slot & MASK) as usize] = value;
    }

    /// Empties a slot and returns what is left occupied.
    #[inline]
    fn clear(&mut self, node: u32, slot: u32) -> u64 {
        self.slots[node as usize][(slot & MASK) as usize] = NIL;
        let occupied = &mut self.occupied[node as usize];
        *occupied &= !(1 << (slot & MASK));
        *occupied
    }

    #[inline]
    fn occupied(&self, node: u32) -> u64 {
        self.occupied[node as usize]
    }

    /// What a slot of a node holds; `NIL` if it is empty, or the node is `NIL`.
    #[inline]
    fn slot(&self, node: u32, slot: u32) -> u32 {
        self.slots.get(node as usize).map_or(NIL, |slots| slots[(slot & MASK) as usize])
    }

    #[inline]
    fn get(&self, node: u32, slot: u32) -> Option<u32> {
        let value = self.slot(node, slot);
        (value != NIL).then_some(value)
    }
}

/// One side of one book. 32 bytes: both sides of an instrument share a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(crate) struct Ladder {
    /// Key of the best level; `NIL` when there is none, which is worse than every key.
    best_key: u32,
    best_level: u32,
    /// The page used last, and the keys in it (key / 4,096); `NIL` for none.
    page: u32,
    page_prefix: u32,
    root: u32,
    /// All keys have this value above the bits that the root and what is below it resolve.
    prefix: u32,
    /// Node levels below the root: at least 1, so that there is always a page.
    height: u32,
    levels: u32,
}

const _: () = assert!(size_of::<Ladder>() == 32);

/// What is at a key: its leaf and its level, `NIL` where there is none.
#[derive(Clone, Copy)]
pub(crate) struct Seat {
    leaf: u32,
    pub level: u32,
}

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
        page: NIL,
        page_prefix: NIL,
        root: NIL,
        prefix: 0,
        height: 1,
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

    /// What is at `key`.
    #[inline(always)]
    pub fn seat(&mut self, nodes: &Nodes, key: u32) -> Seat {
        let page = if self.page_prefix == key >> PAGE_BITS { self.page } else { self.turn_to(nodes, key) };
        let leaf = nodes.slot(page, digit(key, 1));
        Seat { leaf, level: nodes.slot(leaf, key) }
    }

    /// Finds the page of `key` from the root and remembers it.
    #[cold]
    fn turn_to(&mut self, nodes: &Nodes, key: u32) -> u32 {
        let page = self.find_page(nodes, key);
        if page != NIL {
            (self.page, self.page_prefix) = (page, key >> PAGE_BITS);
        }
        page
    }

    fn find_page(&self, nodes: &Nodes, key: u32) -> u32 {
        if self.root == NIL || above(key, self.height) != self.prefix {
            return NIL;
        }
        let mut node = self.root;
        for height in (2..=self.height).rev() {
            node = nodes.slot(node, digit(key, height));
            if node == NIL {
                return NIL;
            }
        }
        node
    }

    /// The level at `key` if its page is the one used last, for warming.
    #[inline]
    pub fn warm(&self, nodes: &Nodes, key: u32) -> u32 {
        if self.page_prefix != key >> PAGE_BITS {
            return NIL;
        }
        nodes.slot(nodes.slot(self.page, digit(key, 1)), key)
    }

    /// Touches the bitmaps from which the level at `key` may be taken, if its page is the one used last.
    #[inline]
    pub fn warm_leaf(&self, nodes: &Nodes, key: u32) -> u32 {
        if self.page_prefix != key >> PAGE_BITS {
            return 0;
        }
        let leaf = nodes.slot(self.page, digit(key, 1));
        nodes.slot(leaf, key) ^ nodes.occupied.get(leaf as usize).map_or(0, |&occupied| occupied as u32)
    }

    /// Puts `level` at `key`, where `seat` found none. The caller has made sure that [`INSERT_NODES`] nodes are free.
    /// Returns false, and leaves a consistent trie, if they were not.
    #[inline]
    pub fn insert(&mut self, nodes: &mut Nodes, key: u32, seat: Seat, level: u32) -> bool {
        let mut leaf = seat.leaf;
        if leaf == NIL {
            leaf = self.make_leaf(nodes, key);
            if leaf == NIL {
                return false;
            }
        }
        nodes.set(leaf, key, level);
        self.levels += 1;
        if key < self.best_key {
            self.best_key = key;
            self.best_level = level;
        }
        true
    }

    #[cold]
    fn make_leaf(&mut self, nodes: &mut Nodes, key: u32) -> u32 {
        if nodes.free_count() < INSERT_NODES {
            return NIL;
        }
        self.try_make_leaf(nodes, key).unwrap_or(NIL)
    }

    fn try_make_leaf(&mut self, nodes: &mut Nodes, key: u32) -> Option<u32> {
        if self.root == NIL {
            self.root = nodes.allocate()?;
            self.height = 1;
            self.prefix = above(key, 1);
        }
        while above(key, self.height) != self.prefix {
            let root = nodes.allocate()?;
            nodes.set(root, self.prefix, self.root);
            self.root = root;
            self.prefix >>= BITS;
            self.height += 1;
        }
        let mut node = self.root;
        for height in (1..=self.height).rev() {
            if height == 1 {
                (self.page, self.page_prefix) = (node, key >> PAGE_BITS);
            }
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
    #[inline]
    pub fn remove(&mut self, nodes: &mut Nodes, key: u32) {
        let page = if self.page_prefix == key >> PAGE_BITS { self.page } else { self.turn_to(nodes, key) };
        if page == NIL {
            return;
        }
        let leaf = nodes.slot(page, digit(key, 1));
        if leaf == NIL {
            return;
        }
        let left = nodes.clear(leaf, key);
        self.levels -= 1;
        let page_left = if left == 0 { self.drop_leaf(nodes, key, leaf) } else { 0 };
        if key == self.best_key {
            // The best key was the lowest bit of its leaf, and its leaf that of its page, so the next best is the lowest one
            // left.
            if left != 0 {
                let slot = left.trailing_zeros();
                (self.best_key, self.best_level) = (key & !MASK | slot, nodes.slot(leaf, slot));
            } else if page_left != 0 {
                let above = page_left.trailing_zeros();
                let leaf = nodes.slot(page, above);
                let slot = nodes.occupied(leaf).trailing_zeros();
                let page_key = key & !((1 << PAGE_BITS) - 1);
                (self.best_key, self.best_level) = (page_key | above << BITS | slot, nodes.slot(leaf, slot));
            } else {
                (self.best_key, self.best_level) = self.at_or_after(nodes, 0).unwrap_or((NIL, NIL));
            }
        }
    }

    /// Releases an emptied leaf. Returns which leaves its page still has; without any, the page goes too.
    #[inline]
    fn drop_leaf(&mut self, nodes: &mut Nodes, key: u32, leaf: u32) -> u64 {
        nodes.release(leaf);
        let left = nodes.clear(self.page, digit(key, 1));
        if left == 0 {
            self.prune(nodes, key);
        }
        left
    }

    /// Releases an emptied page, the nodes above it that it empties, and roots with a single child.
    #[cold]
    fn prune(&mut self, nodes: &mut Nodes, key: u32) {
        let mut path = [NIL; HEIGHT_MAX + 1];
        let mut node = self.root;
        for height in (2..=self.height).rev() {
            path[height as usize] = node;
            node = nodes.slot(node, digit(key, height));
        }
        nodes.release(node);
        (self.page, self.page_prefix) = (NIL, NIL);
        let mut height = 2;
        loop {
            if height > self.height {
                self.root = NIL;
                self.height = 1;
                return;
            }
            let parent = path[height as usize];
            if nodes.clear(parent, digit(key, height)) != 0 {
                break;
            }
            nodes.release(parent);
            height += 1;
        }
        while self.height > 1 && nodes.occupied(self.root).is_power_of_two() {
            let slot = nodes.occupied(self.root).trailing_zeros();
            let child = nodes.slot(self.root, slot);
            nodes.clear(self.root, slot);
            nodes.release(self.root);
            self.root = child;
            self.prefix = self.prefix << BITS | slot;
            self.height -= 1;
        }
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
        let mut path = [NIL; HEIGHT_MAX + 1];
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
            if let Some(slot) = pick(nodes.occupied(node), digit(key, height), including) {
                let value = nodes.slot(node, slot);
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
            let slot = pick(nodes.occupied(node));
            let value = nodes.slot(node, slot);
            prefix = prefix << BITS | slot;
            if height == 0 {
                return (prefix, value);
            }
            node = value;
            height -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn check(keys: impl Iterator<Item = (bool, u32)>) {
        let mut nodes = Nodes::new(4096);
        let all = nodes.free_count();
        let mut ladder = Ladder::EMPTY;
        let mut model = BTreeMap::new();
        for (step, (insert, key)) in keys.enumerate() {
            if insert {
                let seat = ladder.seat(&nodes, key);
                if seat.level == NIL {
                    assert!(ladder.insert(&mut nodes, key, seat, step as u32));
                    model.insert(key, step as u32);
                }
            } else if let Some((&key, _)) = model.range(key..).next() {
                model.remove(&key);
                ladder.remove(&mut nodes, key);
            }
            let best = model.first_key_value().map_or((NIL, NIL), |(&k, &v)| (k, v));
            assert_eq!((ladder.best_key(), ladder.best_level()), best, "best after step {step}");
            assert_eq!(ladder.levels() as usize, model.len());
            assert_eq!(ladder.seat(&nodes, key).level, model.get(&key).copied().unwrap_or(NIL));
            assert_eq!(ladder.at_or_after(&nodes, key), model.range(key..).next().map(|(&k, &v)| (k, v)));
            assert_eq!(
                ladder.at_or_before(&nodes, key),
                model.range(..=key).next_back().map(|(&k, &v)| (k, v))
            );
        }
        for &key in model.keys() {
            ladder.remove(&mut nodes, key);
        }
        assert_eq!(nodes.free_count(), all, "every node came back");
    }

    #[test]
    fn agrees_with_a_sorted_map() {
        for spread in [8u32, 200, 5_000, 9_000, 1 << 20, KEY_LIMIT] {
            let mut random = crate::random::Random::from_environment();
            let keys = (0..20_000).map(|step| {
                let insert = random.below(if step % 4_000 < 2_000 { 100 } else { 30 }) >= 25;
                (insert, random.below(u64::from(spread)) as u32)
            });
            check(keys.take_while(|_| true).scan(0u32, |live, (insert, key)| {
                // Keeps the spread-out runs within the nodes they have.
                let insert = insert && *live < 400;
                *live = if insert { *live + 1 } else { live.saturating_sub(1) };
                Some((insert, key))
            }));
        }
    }

    #[test]
    fn extremes_of_the_key_range() {
        let last = KEY_LIMIT - 1;
        check([(true, last), (true, 0), (true, last - 1), (false, 0), (true, 1), (false, last)].into_iter());
    }

    #[test]
    fn the_most_nodes_that_a_level_can_need_are_kept_free() {
        let mut nodes = Nodes::new(2 + INSERT_NODES as u32);
        let mut ladder = Ladder::EMPTY;
        for key in [0, KEY_LIMIT - 1] {
            let seat = ladder.seat(&nodes, key);
            assert!(ladder.insert(&mut nodes, key, seat, key));
        }
        assert_eq!(nodes.free_count(), 0);
    }

    #[test]
    fn exhausted_nodes_are_refused_and_leave_the_ladder_intact() {
        let mut nodes = Nodes::new(INSERT_NODES as u32 + 6);
        let mut ladder = Ladder::EMPTY;
        let mut put = |ladder: &mut Ladder, key: u32, level: u32| {
            let seat = ladder.seat(&nodes, key);
            ladder.insert(&mut nodes, key, seat, level)
        };
        assert!(put(&mut ladder, 5, 1));
        assert!(put(&mut ladder, 6, 2));
        let refused = (1_000_000..KEY_LIMIT).step_by(100_000_000).filter(|&key| !put(&mut ladder, key, 9));
        assert!(refused.count() > 0);
        assert_eq!(ladder.at_or_after(&nodes, 0), Some((5, 1)));
        ladder.remove(&mut nodes, 5);
        assert_eq!(ladder.best_level(), 2);
    }
}
