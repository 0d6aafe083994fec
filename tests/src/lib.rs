//! What the end-to-end suites and the benchmark harness share: hosts, processes, clients. Not a test itself, and used by nothing else.

pub mod attack;
pub mod bench;
pub mod client;
pub mod engine;
pub mod nats;
pub mod ping;
pub mod process;
pub mod schema;
pub mod skip;
pub mod soup;
pub mod veth;
