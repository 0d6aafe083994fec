//! The result of a run as data: what JSON holds, tables show and pages plot. It measures nothing.

pub mod assemble;
pub mod chart;
pub mod hgrm;
pub mod host;
pub mod html;
pub mod merge;
pub mod series;
pub mod table;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stalls::Stalls;
use crate::verdict::Verdict;

pub use host::HostFacts;

/// Version of the JSON layout. Later versions only add fields.
pub const SCHEMA_VERSION: u32 = 2;

/// The result of a run. Fields that a file does not have are read as empty, so that older reports can be compared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Report {
    pub schema_version: u32,
    /// `run`; the other kinds are `echo`, `replay`, `search`, `curve`, `scale`.
    pub kind: String,
    /// Whether to believe the rest, and why not.
    pub verdict: Verdict,
    /// Program and version that measured.
    pub tool: String,
    /// Name of the run in comparisons.
    pub label: String,
    /// Seconds since 1970.
    pub started_at: u64,
    /// `udp` or `xdp`.
    pub port: String,
    /// How the port was opened: for AF_XDP where the program runs, and copy or zero-copy.
    pub port_mode: String,
    pub target: String,
    pub shards: u32,
    pub threads: u32,
    pub clients: u32,

    /// Requests sent in the measured time, warm-up and clean-up excluded.
    pub orders: u64,
    /// Requests that got their answer; includes `answered_by_execution`.
    pub answered: u64,
    /// Cancels and replaces whose order was executed before they arrived: OUCH answers them with the execution alone.
    pub answered_by_execution: u64,
    pub lost: u64,
    /// Second answers, and executions or cancels beyond an order's quantity, seen above the stream.
    pub duplicated: u64,
    /// Messages about orders that were never sent.
    pub unknown_answers: u64,
    /// Requests answered as expected: `answered` less `rejected`.
    pub accepted: u64,
    /// Accepted / sent, 0 to 1.
    pub success_rate: f64,
    /// Answered requests per second, from the first intended time to the last answer.
    pub orders_per_second: f64,
    /// The same for each client.
    pub per_client: Vec<f64>,
    pub per_client_range: Range,
    /// Response: from the intended sending to the first answer.
    pub latency_ns: Latency,
    /// Service: from the actual sending to the first answer. A closed loop intends what it sends: the same there.
    pub service_ns: Latency,
    /// Lag: from the intended to the actual sending. All zero in a closed loop.
    pub lag_ns: Latency,
    /// The same three, whole.
    pub histograms: Histograms,
    pub per_client_latency: Vec<ClientLatency>,

    pub duration_seconds: f64,
    pub warmup_seconds: f64,
    pub pace: String,
    /// Open loop: orders per second that were intended.
    pub intended_orders_per_second: Option<f64>,
    pub window: Option<u32>,
    pub orders_per_datagram_limit: Option<u32>,
    pub mix: MixReport,
    pub requests: Vec<RequestReport>,
    pub rejected: u64,
    /// Rejected / sent, 0 to 1.
    pub rejected_share: f64,
    pub rejects: Vec<RejectReport>,
    pub executions: u64,
    pub executed_quantity: u64,
    pub cancels_unrequested: u64,
    pub outside_measurement: OutsideReport,
    pub generator: GeneratorReport,
    pub transport: TransportReport,
    pub baseline: Baseline,
    /// Of a run by several generators: each of them.
    pub agents: Vec<AgentReport>,
    pub host: HostFacts,
    /// The course of the measured time, over all clients.
    pub timeline: Vec<TimelinePoint>,
    /// The latency distribution: percentile and nanoseconds.
    pub percentiles: Vec<(f64, u64)>,
    /// Ended by a signal.
    pub interrupted: bool,
    /// Ended by its number of orders, which had all been sent.
    pub ended_by_count: bool,
    /// What ended the run before its time; the figures are those of the time until then.
    pub failure: Option<String>,
    /// Why a closed loop sent nothing for the last part of its time.
    pub stopped: Option<String>,
    /// What a reader has to know before believing the figures.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Range {
    pub min: f64,
    pub mean: f64,
    pub max: f64,
}

/// What a histogram of nanoseconds holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Latency {
    pub min: u64,
    pub mean: f64,
    pub median: u64,
    pub stdev: f64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub p99_99: u64,
    pub max: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClientLatency {
    pub user: String,
    pub orders: u64,
    pub lost: u64,
    pub orders_per_second: f64,
    pub latency_ns: Latency,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MixReport {
    pub seed: u64,
    pub enter: u32,
    pub cancel: u32,
    pub replace: u32,
    pub crossing: f64,
    pub symbols: u32,
    pub price_start: u64,
    pub walk_ticks: u32,
    pub quantity_min: u32,
    pub quantity_max: u32,
    pub open_orders_max: u32,
    /// The historical file that the flow draws from; empty if it is made up.
    pub profile: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RequestReport {
    pub kind: String,
    pub sent: u64,
    pub answered: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RejectReport {
    pub code: u16,
    pub reason: String,
    pub count: u64,
}

/// Requests before and after the measured time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OutsideReport {
    pub warmup_orders: u64,
    pub warmup_lost: u64,
    pub warmup_rejected: u64,
    pub cleanup_orders: u64,
    pub cleanup_lost: u64,
}

/// How the generator itself did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GeneratorReport {
    pub stalls: Stalls,
    pub malformed_messages: u64,
    pub other_messages: u64,
    pub stray_datagrams: u64,
    /// The share of answers that the generator's own pauses and lateness did not touch, in percent: no percentile above it is the engine's.
    pub trusted_percentile: f64,
}

/// What the streams and ports did to deliver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TransportReport {
    pub logins: u64,
    pub reconnections: u64,
    pub retransmitted_datagrams: u64,
    pub retransmitted_messages: u64,
    pub probes: u64,
    pub gap_requests_sent: u64,
    pub gap_requests_received: u64,
    /// Suppressed by the stream: the network or a retransmission doubled them.
    pub duplicate_datagrams: u64,
    pub early_datagrams: u64,
    pub sent_datagrams: u64,
    pub received_datagrams: u64,
    pub receive_drops: u64,
    pub transmit_drops: u64,
    pub transmit_full: u64,
    pub kicks: u64,
    /// Messages per datagram of the upstreams.
    pub messages_per_datagram: f64,
}

impl TransportReport {
    pub fn add(&mut self, other: &TransportReport) {
        let datagrams = (self.sent_datagrams + other.sent_datagrams).max(1) as f64;
        self.messages_per_datagram = (self.messages_per_datagram * self.sent_datagrams as f64
            + other.messages_per_datagram * other.sent_datagrams as f64)
            / datagrams;
        for (mine, theirs) in [
            (&mut self.logins, other.logins),
            (&mut self.reconnections, other.reconnections),
            (&mut self.retransmitted_datagrams, other.retransmitted_datagrams),
            (&mut self.retransmitted_messages, other.retransmitted_messages),
            (&mut self.probes, other.probes),
            (&mut self.gap_requests_sent, other.gap_requests_sent),
            (&mut self.gap_requests_received, other.gap_requests_received),
            (&mut self.duplicate_datagrams, other.duplicate_datagrams),
            (&mut self.early_datagrams, other.early_datagrams),
            (&mut self.sent_datagrams, other.sent_datagrams),
            (&mut self.received_datagrams, other.received_datagrams),
            (&mut self.receive_drops, other.receive_drops),
            (&mut self.transmit_drops, other.transmit_drops),
            (&mut self.transmit_full, other.transmit_full),
            (&mut self.kicks, other.kicks),
        ] {
            *mine += theirs;
        }
    }
}

/// One generator of several.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AgentReport {
    pub address: String,
    pub clients: u32,
    pub orders: u64,
    pub orders_per_second: f64,
    pub latency_ns: Latency,
    /// The shortest way there and back, by which the start is brought forward.
    pub round_trip_ns: u64,
    /// Why it brought no result.
    pub failure: Option<String>,
}

/// The load test that the project started from, and this run against it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Baseline {
    pub what: String,
    pub orders_per_second: f64,
    pub orders_per_second_ratio: f64,
    pub mean_latency_ns: f64,
    pub mean_latency_ratio: f64,
}

/// The requests meant for one step of the measured time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TimelinePoint {
    /// The end of the step, from the start of the measured time.
    pub seconds: f64,
    /// Those of them that were answered, by the time of the step.
    pub orders_per_second: f64,
    pub median_ns: u64,
    pub p99_ns: u64,
    pub max_ns: u64,
}

/// HdrHistograms of nanoseconds: V2, deflated, base64. Empty text is one without values. Those of several runs may be added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Histograms {
    pub response: String,
    pub service: String,
    pub lag: String,
}

impl Report {
    /// The fastest client's rate over the slowest's; 0 without clients.
    pub fn client_spread(&self) -> f64 {
        let Range { min, max, .. } = self.per_client_range;
        if min > 0.0 { max / min } else { 0.0 }
    }

    /// Every request was answered exactly once.
    pub fn is_clean(&self) -> bool {
        self.lost == 0
            && self.duplicated == 0
            && self.unknown_answers == 0
            && self.outside_measurement.warmup_lost == 0
            && self.generator.malformed_messages == 0
    }
}
