//! Order entry and drop copy over TLS, with certificates made here: what works, and what is said when something is wrong. The same
//! protocol without TLS is tested with other people's clients (`tests/interop`).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pitlane_tests::client::{PATIENCE, cancel, enter, user};
use pitlane_tests::engine::{Engine, Folder, PASSWORD, PASSWORD_HASH, Settings, free_port};
use pitlane_tests::process::binary;
use pitlane_tests::soup::{SoupClient, connect};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use wire::ouch::outbound::{OrderAcceptedView, OrderCanceledView, OrderExecutedView};
use wire::soupbintcp::Packet;

const PRICE: u64 = 1_500_000;
/// Plain bytes in a TLS record (RFC 8446 section 5.1).
const LARGEST_RECORD: usize = 1 << 14;
const NAME: &str = "venue.example";

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// An engine whose gateway speaks TLS, and the certificate to trust it by.
struct Venue {
    engine: Engine,
    certificate: CertificateDer<'static>,
    gateway: SocketAddr,
    drop_copy: SocketAddr,
    _folder: Folder,
}

/// Certificate and key in `folder`, as PEM.
fn make_certificate(folder: &Path, name: &str) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
    std::fs::write(folder.join("server.pem"), cert.pem()).expect("certificate");
    std::fs::write(folder.join("server.key"), signing_key.serialize_pem()).expect("key");
    cert.der().clone()
}

/// Settings with both ports of the gateway on TLS by the files of `folder`.
fn settings(folder: &Path) -> (Settings, SocketAddr, SocketAddr) {
    let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (gateway, drop_copy) = (address(), address());
    let section = format!(
        "listen = \"{gateway}\"\ndrop_copy_listen = \"{drop_copy}\"\n\
         tls_certificate = {:?}\ntls_key = {:?}",
        folder.join("server.pem"),
        folder.join("server.key")
    );
    (Settings::default().with("gateway", section), gateway, drop_copy)
}

fn start() -> Venue {
    let folder = Folder::new("tls").expect("a folder");
    let certificate = make_certificate(&folder.path, NAME);
    let (mut settings, gateway, drop_copy) = settings(&folder.path);
    settings.accounts = 8;
    settings.after_accounts = format!(
        "[[account]]\nuser = \"DROP01\"\nfirm = \"DEMO\"\ndrop_copy = true\npassword_hash = {PASSWORD_HASH:?}\n"
    );
    let engine = Engine::start(&binary("pitlane"), settings).expect("an engine");
    Venue { engine, certificate, gateway, drop_copy, _folder: folder }
}

/// A client's side of TLS over a new connection. The handshake happens with the first write or read.
fn tls(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsStream {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(NAME).expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a TLS session");
    let stream = connect(address).expect("a connection");
    // The handshake must not end because the engine is slow for once.
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let mut stream = StreamOwned::new(connection, stream);
    let _failure_shows_at_first_use = stream.conn.complete_io(&mut stream.sock);
    stream.sock.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
    stream
}

impl Venue {
    fn open(&self, address: SocketAddr, user: &str, sequence: u64) -> SoupClient<TlsStream> {
        let stream = tls(address, &self.certificate, rustls::ALL_VERSIONS);
        SoupClient::log_in(stream, user, PASSWORD, sequence).expect("logged in")
    }

    /// Waits until the engine's log has this line.
    fn await_log(&self, part: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.engine.log_text().contains(part) {
            assert!(Instant::now() < deadline, "{part:?} is not in the log:\n{}", self.engine.log_text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn orders_are_entered_executed_and_cancelled_over_tls_and_copied_to_the_firm() {
    let venue = start();
    let mut copy = venue.open(venue.drop_copy, "DROP01", 1);
    let mut buyer = venue.open(venue.gateway, &user(1), 1);
    let mut seller = venue.open(venue.gateway, &user(2), 1);
    buyer.enter(&enter(1, b'B', 100, PRICE)).expect("sent");
    let accepted = buyer.receive(b'A').expect("Accepted");
    assert_eq!(OrderAcceptedView::parse(&accepted).map(|it| it.user_ref_num()), Ok(1));
    seller.enter(&enter(1, b'S', 40, PRICE)).expect("sent");
    for side in [&mut buyer, &mut seller] {
        let executed = side.receive(b'E').expect("Executed");
        let executed = OrderExecutedView::parse(&executed).expect("Executed");
        assert_eq!((executed.user_ref_num(), executed.quantity(), executed.price()), (1, 40, PRICE));
    }
    buyer.enter(&cancel(1)).expect("sent");
    let canceled = buyer.receive(b'C').expect("Canceled");
    assert_eq!(OrderCanceledView::parse(&canceled).map(|it| it.quantity()), Ok(60));
    for of in [user(2), user(1)] {
        let copied = copy.receive(b'C').expect("a copy: six characters of user name first");
        assert_eq!((&copied[..6], copied[6]), (of.as_bytes(), b'E'));
    }
    // The end is TLS's own, not a cut connection, for a logout and for the engine's end.
    buyer.send(&Packet::LogoutRequest).expect("sent");
    let mut rest = Vec::new();
    buyer.stream.sock.set_read_timeout(Some(PATIENCE)).expect("timeout");
    buyer.stream.read_to_end(&mut rest).expect("close_notify before the end");
}

#[test]
fn a_session_goes_on_after_a_new_tls_connection() {
    let venue = start();
    let mut first = venue.open(venue.gateway, &user(3), 1);
    for urn in 1..=20 {
        first.enter(&enter(urn, b'B', 10, PRICE)).expect("sent");
    }
    for _ in 1..=20 {
        first.receive(b'A').expect("Accepted");
    }
    let session = first.accepted.session;
    let mut second = venue.open(venue.gateway, &user(3), 12);
    assert_eq!((second.accepted.session, second.accepted.sequence), (session, 12));
    for urn in 11..=20 {
        let accepted = second.receive(b'A').expect("replayed");
        assert_eq!(OrderAcceptedView::parse(&accepted).map(|it| it.user_ref_num()), Ok(urn));
    }
}

/// A record of the largest size and a small one behind it arrive in one read of the socket: all of it is taken.
#[test]
fn everything_in_large_tls_records_is_taken_at_once() {
    let venue = start();
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13][..]] {
        let stream = tls(venue.gateway, &venue.certificate, versions);
        let mut client = SoupClient::log_in(stream, &user(4), PASSWORD, 0).expect("logged in");
        let first = 1 + 1000 * u32::from(versions[0] == &rustls::version::TLS13);
        // Nothing follows that would make the engine look again.
        client.heartbeats = false;
        let (mut frames, mut next) = (Vec::new(), first);
        while frames.len() < LARGEST_RECORD + 1000 {
            let mut frame = [0; 128];
            let length = Packet::UnsequencedData(&enter(next, b'B', 10, PRICE)).write_frame(&mut frame);
            frames.extend_from_slice(&frame[..length]);
            next += 1;
        }
        client.stream.write_all(&frames).expect("sent");
        for urn in first..next {
            let accepted = client.receive(b'A').expect("Accepted");
            assert_eq!(OrderAcceptedView::parse(&accepted).map(|it| it.user_ref_num()), Ok(urn));
        }
    }
}

#[test]
fn a_client_without_tls_is_cut_off_and_the_log_says_why() {
    let venue = start();
    let mut stream = connect(venue.gateway).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let mut frame = [0; 128];
    let login = wire::soupbintcp::LoginRequest {
        username: *b"C00001",
        password: *b"demo      ",
        requested_session: wire::soupbintcp::ANY_SESSION,
        requested_sequence: 1,
    };
    let length = Packet::LoginRequest(login).write_frame(&mut frame);
    stream.write_all(&frame[..length]).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the connection is closed");
    // A TLS alert record, which is no SoupBinTCP.
    assert_eq!(answer.first(), Some(&21), "{answer:02x?}");
    venue.await_log("TLS: received corrupt message");
    // Others are not disturbed.
    venue.open(venue.gateway, &user(1), 1);
}

#[test]
fn a_client_that_does_not_trust_the_certificate_says_so_on_both_sides() {
    let venue = start();
    let folder = Folder::new("tls").expect("a folder");
    let other = make_certificate(&folder.path, NAME);
    let stream = tls(venue.gateway, &other, rustls::ALL_VERSIONS);
    let refused = SoupClient::log_in(stream, &user(1), PASSWORD, 1).map(|_| ());
    let said = format!("{refused:?}");
    assert!(said.contains("invalid peer certificate") || said.contains("InvalidCertificate"), "{said}");
    venue.await_log("TLS: received fatal alert");
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start_by_name() {
    let folder = Folder::new("tls").expect("a folder");
    let other = Folder::new("tls").expect("a folder");
    let [pem, key] = ["server.pem", "server.key"].map(|name| folder.path.join(name));
    make_certificate(&other.path, NAME);
    let broken: [(&str, &dyn Fn()); 5] = [
        ("gateway.tls_certificate", &|| std::fs::remove_file(&pem).expect("removed")),
        ("gateway.tls_key", &|| std::fs::remove_file(&key).expect("removed")),
        ("no certificate in it", &|| std::fs::write(&pem, "not a certificate").expect("written")),
        ("gateway.tls_key", &|| std::fs::write(&key, "not a key").expect("written")),
        ("do not go together", &|| {
            std::fs::copy(other.path.join("server.key"), &key).expect("copied");
        }),
    ];
    for (said, damage) in broken {
        make_certificate(&folder.path, NAME);
        damage();
        let (settings, ..) = settings(&folder.path);
        let config = folder.path.join("pitlane.toml");
        std::fs::write(&config, settings.to_toml(&folder.path)).expect("configuration");
        let output =
            Command::new(binary("pitlane")).arg("run").arg("--config").arg(&config).output().expect("run");
        let complaint = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && complaint.contains(said), "{said}: {complaint}");
    }
}
