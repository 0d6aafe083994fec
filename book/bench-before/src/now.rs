//! The present book under the names that the shared sources use.

pub use ::book;

#[path = "../../benches/book-bench/digest.rs"]
pub mod digest;
#[path = "../../benches/book-bench/drive.rs"]
pub mod drive;
#[path = "every_feature.rs"]
pub mod every_feature;

/// A reference price, which may be unknown.
pub fn reference(price: u64) -> Option<u64> {
    Some(price)
}
