//! The matching engine as its clients and the readers of its feed see it: bytes in, bytes out, through `Shard::apply`.
//! Not transport, sessions or journal.

mod answers;
mod ask;
mod first_version;
mod journal_replays;
mod ledger;
mod many_instruments;
mod operations;
mod participants;
mod random;
mod reference;
mod reject_codes;
mod requests;
mod sessions;
mod sizes;
mod trading_states;
mod venue;
