//! The engine's side of its feed: what the shard's thread does for it, and what threads beside it do for receivers who missed something.

mod allowance;
mod deep;
mod follower;
pub mod old_requests;
mod publisher;
pub mod receivers;
pub mod request_server;
mod services;
mod state;
pub mod tap;
mod threads;
mod window;

pub use publisher::{FeedCounters, Publisher};
pub use state::Feed;
pub use threads::{FeedThreads, start};
pub use window::window;
