//! Several generators as one run: agents that wait for work on their hosts, and the controller that gives it out. Neither compares clocks.
//!
//! ```text
//! controller                                   agent
//!     Hello (version, token)  ------------->
//!     Ping  -------------------------------->  Pong        the way there and back is measured
//!     Plan (its share of the run)  -------->   logs its clients in
//!     <-------------------------------------   Alive, LoggedIn
//!     Start (in so many nanoseconds)  ----->   runs
//!     <-------------------------------------   Alive ..., Done (report, histograms)
//! ```
//! Everything goes over TLS, and nothing is said before the token was right.

pub mod agent;
pub mod controller;
pub mod wire;
