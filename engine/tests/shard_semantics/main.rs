//! The matching engine as its clients and the readers of its feed see it: bytes in, bytes out, through `Shard::apply`.
//! Not transport, sessions or journal.

mod messages;
mod random;
mod reference;
mod reject_codes;
mod requests;
mod trading_states;
mod venue;
