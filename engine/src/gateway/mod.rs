//! SoupBinTCP order entry and drop copy of a shard: one thread serves all connections and speaks to the shard over two
//! bounded rings. Sessions, credentials, sequences and meaning are the shard's, the same as over UDP.
//!
//! ```text
//! clients -- TCP or TLS -- server -> rings -> shard thread (session::gateway)
//! ```

mod connection;
pub mod rings;
mod server;
mod tls;

pub use rings::{GatewayLink, rings};
pub use server::{Gateway, start};
