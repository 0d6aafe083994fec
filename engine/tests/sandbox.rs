//! What a process in the sandbox may still do and what it may not. One test: the filter is for the whole process and for good.

use engine::config::Sandbox;
use engine::sandbox::enter;
use std::io::ErrorKind;
use std::process::Command;

#[test]
fn the_engines_calls_pass_and_a_strangers_are_refused_on_every_thread() {
    let elsewhere = std::thread::spawn(|| {
        std::thread::park();
        Command::new("true").status().map(drop).map_err(|error| error.kind())
    });
    enter(Sandbox::Refuse).expect("the filter");
    elsewhere.thread().unpark();
    let denied = Err(ErrorKind::PermissionDenied);
    assert_eq!(elsewhere.join().expect("thread"), denied, "no program from a thread that ran already");
    assert_eq!(Command::new("true").status().map(drop).map_err(|error| error.kind()), denied);
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0));
    assert_eq!(listener.map(drop).map_err(|error| error.kind()), denied, "no new door");
    let packets = socket2::Socket::new(libc::AF_PACKET.into(), socket2::Type::DGRAM, None);
    assert_eq!(packets.map(drop).map_err(|error| error.kind()), denied, "no raw socket");
    let namespace = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER);
    assert_eq!(namespace, Err(nix::errno::Errno::EPERM), "no namespace");

    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).expect("datagrams");
    socket.send_to(b"order", socket.local_addr().expect("address")).expect("sent");
    std::thread::Builder::new()
        .name("more".to_owned())
        .spawn(|| ())
        .expect("a thread")
        .join()
        .expect("its end");
    let folder = std::env::temp_dir().join(format!("pitlane-sandbox-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("file"), [1; 4096]).expect("a file");
    std::fs::remove_dir_all(&folder).expect("their end");
}
