//! `moldudp-follow GROUP:PORT INTERFACE REQUESTS OUT`: follows a feed with the crate moldudp, whose client asks for what is missing,
//! and writes the messages in order to a file (u16 length, message) until the session ends. The crate leaves ordering to its user.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use moldudp::{MoldUDP64, Packet, RetransmissionPacket, RetransmissionRequest};

/// Nothing new for this long: ask again for what is missing.
const RETRY: Duration = Duration::from_millis(20);
const GIVE_UP: Duration = Duration::from_secs(30);

fn main() {
    let mut words = std::env::args().skip(1);
    let mut word = |what: &str| words.next().unwrap_or_else(|| panic!("missing: {what}"));
    let group: SocketAddrV4 = word("GROUP:PORT").parse().expect("GROUP:PORT");
    let interface: Ipv4Addr = word("INTERFACE").parse().expect("INTERFACE");
    let requests: SocketAddr = word("REQUESTS").parse().expect("REQUESTS");
    let mut out = std::fs::File::create(word("OUT")).expect("OUT");
    let client = MoldUDP64::builder()
        .multicast_addr(group)
        .interface_addr(interface)
        .rerequest_server_addrs(vec![requests])
        .expected_seq_num(1)
        .build();
    let (datagrams, ask) = client.start().expect("joins the group");
    println!("following");
    let (mut next, mut known, mut end) = (1u64, 1u64, None);
    let mut early: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut session = [b' '; 10];
    let mut progress = Instant::now();
    let mut asked = Instant::now();
    while end.is_none_or(|end| next < end) {
        assert!(progress.elapsed() < GIVE_UP, "no progress at message {next} of {known}");
        if let Ok(datagram) = datagrams.recv_timeout(RETRY) {
            let packet = Packet::new(datagram.bytes());
            session = *packet.session_ident_raw();
            let first = packet.seq_num();
            known = known.max(first);
            match packet.msg_count() {
                0xFFFF => end = Some(first),
                0 => {}
                _ => {
                    // The blocks as MoldUDP64 has them: length, message.
                    let mut rest = &datagram.bytes()[20..];
                    let mut sequence = first;
                    while rest.len() >= 2 {
                        let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                        early.entry(sequence).or_insert_with(|| rest[..2 + length].to_vec());
                        rest = &rest[2 + length..];
                        sequence += 1;
                    }
                    known = known.max(sequence);
                }
            }
        }
        while let Some(block) = early.remove(&next) {
            out.write_all(&block).expect("writes");
            next += 1;
            progress = Instant::now();
        }
        if next < known && asked.elapsed() > RETRY {
            asked = Instant::now();
            let count = (known - next).min(1000) as u16;
            let request = RetransmissionPacket::new(session, next, count);
            let _ = ask.try_send(RetransmissionRequest::new(request));
        }
    }
    println!("{} messages", next - 1);
}
