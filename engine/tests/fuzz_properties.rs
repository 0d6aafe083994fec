//! The fuzz targets' properties under stable Rust: every seed as it is, and random changes to the seeds for a bounded time. Fuzzing proper, with
//! coverage, is in `fuzz/`.
//!
//! `PITLANE_SEED=n` repeats a run.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // Tests print their seed.

use netio::random::{Random, seed_from_environment};
use std::path::Path;

#[path = "../../fuzz/properties.rs"]
mod properties;

const ROUNDS: u64 = 3_000;

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds in {}", folder.display());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Cut, lengthened, spliced, or with bytes and bits changed.
fn change(data: &mut Vec<u8>, random: &mut Random, others: &[Vec<u8>]) {
    for _ in 0..random.between(1, 4) {
        let place = random.index(data.len() + 1);
        match random.below(6) {
            0 => data.truncate(place),
            1 => data.insert(place, random.next_u64() as u8),
            2 => {
                let other = &others[random.index(others.len())];
                data.truncate(place);
                data.extend_from_slice(&other[random.index(other.len() + 1)..]);
            }
            3 if place < data.len() => data[place] ^= 1 << random.below(8),
            4 if place < data.len() => data[place] = [0, 1, 0x7F, 0x80, 0xFF][random.index(5)],
            _ if place < data.len() => data[place] = random.next_u64() as u8,
            _ => {}
        }
    }
}

#[test]
fn properties_hold_for_the_seeds_and_for_random_changes_to_them() {
    let seed = seed_from_environment().unwrap_or_else(|| u64::from(std::process::id()));
    println!("PITLANE_SEED={seed}");
    let mut random = Random::new(seed);
    for (name, property) in properties::ALL {
        let seeds = seeds(name);
        seeds.iter().for_each(|data| property(data));
        for _ in 0..ROUNDS {
            let mut data = seeds[random.index(seeds.len())].clone();
            change(&mut data, &mut random, &seeds);
            property(&data);
        }
    }
}
