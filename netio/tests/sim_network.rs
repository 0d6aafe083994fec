//! The simulated room: that its faults happen as often as asked, are bounded and repeatable. Not what runs over it.
#![allow(clippy::unwrap_used)] // The helpers of tests, which clippy does not see as tests.

use std::net::SocketAddr;

use netio::sim::{Faults, SimNetwork, SimPort};
use netio::{Endpoint, Peer, Port};

fn endpoint(last: u8) -> Endpoint {
    SocketAddr::from(([10, 0, 0, last], 9000)).into()
}

fn send(port: &mut SimPort, to: Endpoint, number: u32) {
    port.send(&Peer::remote(to), |out| {
        out[..4].copy_from_slice(&number.to_be_bytes());
        4
    })
    .unwrap();
    port.flush().unwrap();
}

fn drain(port: &mut SimPort) -> Vec<u32> {
    let mut numbers = vec![];
    loop {
        let count = port.receive().unwrap();
        if count == 0 {
            return numbers;
        }
        for index in 0..count {
            numbers.push(u32::from_be_bytes(port.datagram(index).1.try_into().unwrap()));
        }
    }
}

/// Sends 0..count a microsecond apart and returns what arrives, in order of arrival.
fn run(seed: u64, faults: Faults, count: u32) -> (Vec<u32>, SimNetwork) {
    let network = SimNetwork::new(seed, faults);
    let mut a = network.open(endpoint(1)).unwrap();
    let mut b = network.open(endpoint(2)).unwrap();
    let mut arrived = vec![];
    for number in 0..count {
        send(&mut a, endpoint(2), number);
        network.advance(1_000);
        arrived.extend(drain(&mut b));
    }
    network.advance(1_000_000_000);
    arrived.extend(drain(&mut b));
    (arrived, network)
}

#[test]
fn without_faults_everything_arrives_in_order() {
    let (arrived, network) = run(1, Faults { delay_ns_max: 50_000, ..Faults::none() }, 1000);
    assert_eq!(arrived, (0..1000).collect::<Vec<_>>());
    assert_eq!(network.in_flight(), 0);
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let (one, _) = run(7, Faults::harsh(), 2000);
    let (two, _) = run(7, Faults::harsh(), 2000);
    let (three, _) = run(8, Faults::harsh(), 2000);
    assert_eq!(one, two);
    assert_ne!(one, three);
}

#[test]
fn faults_happen_as_often_as_asked_and_every_datagram_is_accounted_for() {
    let (arrived, network) = run(3, Faults::harsh(), 20_000);
    let statistics = network.statistics();
    let near = |count: u64, probability: f64| (count as f64 / 20_000.0 - probability).abs() < 0.01;
    assert!(near(statistics.lost, 0.105), "{statistics:?}");
    assert!(near(statistics.duplicated, 0.05), "{statistics:?}");
    assert!(near(statistics.reordered, 0.094), "{statistics:?}");
    assert!(near(statistics.corrupted_detected, 0.0095), "{statistics:?}");
    assert_eq!(arrived.len() as u64, statistics.delivered);
    assert_eq!(
        statistics.sent + statistics.duplicated,
        statistics.delivered + statistics.lost + statistics.corrupted_detected
    );
    assert!(arrived.windows(2).any(|pair| pair[0] > pair[1]), "some came out of order");
}

#[test]
fn undetected_corruption_flips_bits_and_keeps_the_length() {
    let (arrived, network) = run(4, Faults { corruption_undetected: 0.5, ..Faults::none() }, 1000);
    let damaged = arrived.iter().enumerate().filter(|&(index, &number)| index as u32 != number).count();
    assert_eq!(arrived.len(), 1000);
    // Three flips may hit one bit twice and leave one flip, two may cancel out.
    let corrupted = network.statistics().corrupted_undetected as usize;
    assert!(damaged <= corrupted && damaged > corrupted * 9 / 10, "{damaged} of {corrupted}");
}

#[test]
fn a_partition_cuts_both_ways_until_healed_and_takes_what_is_under_way() {
    let network = SimNetwork::new(5, Faults { delay_ns_min: 10, delay_ns_max: 10, ..Faults::none() });
    let [mut a, mut b, mut c] = [1, 2, 3].map(|last| network.open(endpoint(last)).unwrap());
    send(&mut a, endpoint(2), 1);
    let id = network.partition(&[endpoint(1)], &[endpoint(2)]);
    network.advance(10);
    send(&mut a, endpoint(2), 2);
    send(&mut b, endpoint(1), 3);
    send(&mut a, endpoint(3), 4);
    network.advance(10);
    assert_eq!((drain(&mut a), drain(&mut b), drain(&mut c)), (vec![], vec![], vec![4]));
    assert_eq!(network.statistics().partitioned, 3);
    network.heal(id);
    send(&mut a, endpoint(2), 5);
    network.advance(10);
    assert_eq!(drain(&mut b), [5]);
}

#[test]
fn one_direction_can_have_faults_of_its_own() {
    let network = SimNetwork::new(6, Faults::none());
    let [mut a, mut b] = [1, 2].map(|last| network.open(endpoint(last)).unwrap());
    network.set_faults_between(endpoint(1), endpoint(2), Some(Faults { loss: 1.0, ..Faults::none() }));
    send(&mut a, endpoint(2), 1);
    send(&mut b, endpoint(1), 2);
    network.advance(0);
    assert_eq!((drain(&mut a), drain(&mut b)), (vec![2], vec![]));
}

#[test]
fn a_port_that_is_not_emptied_loses_what_its_queue_cannot_hold() {
    let network = SimNetwork::new(6, Faults::none());
    let [mut a, mut b] = [1, 2].map(|last| network.open(endpoint(last)).unwrap());
    for number in 0..10_000 {
        send(&mut a, endpoint(2), number);
    }
    network.advance(0);
    let kept = drain(&mut b).len() as u64;
    assert!(kept < 10_000);
    assert_eq!(kept + b.statistics().rx_dropped.queue_full, 10_000);
}

#[test]
fn a_closed_endpoint_is_unreachable_and_can_be_opened_again() {
    let network = SimNetwork::new(6, Faults::none());
    let mut a = network.open(endpoint(1)).unwrap();
    let b = network.open(endpoint(2)).unwrap();
    assert!(network.open(endpoint(2)).is_err(), "in use");
    drop(b);
    send(&mut a, endpoint(2), 1);
    network.advance(0);
    assert_eq!(network.statistics().unreachable, 1);
    let mut b = network.open(endpoint(2)).unwrap();
    send(&mut a, endpoint(2), 2);
    network.advance(0);
    assert_eq!(drain(&mut b), [2]);
}

#[test]
fn sending_can_be_refused() {
    let network = SimNetwork::new(6, Faults { transmit_full: 1.0, ..Faults::none() });
    let mut a = network.open(endpoint(1)).unwrap();
    assert!(a.send(&Peer::remote(endpoint(2)), |_| panic!("filled")).is_err());
    assert_eq!(a.statistics().tx_full, 1);
}
