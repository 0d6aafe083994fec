//! The smallest TCP server that answers: gives back what it receives, one connection at a time, from a blocking thread. Beside it a thread spins on a
//! core of its own, as a shard's does: what is measured against it has both. `tcp_echo ADDRESS CORE_OF_SPINNER`.

use std::io::{self, Read, Write};
use std::net::TcpListener;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(core)) = (arguments.next(), arguments.next().and_then(|core| core.parse().ok()))
    else {
        return Err(io::Error::other("expected ADDRESS and CORE_OF_SPINNER"));
    };
    let listener = TcpListener::bind(address)?;
    std::thread::spawn(move || {
        if let Err(error) = pitlane_tests::process::pin(core) {
            eprintln!("core {core}: {error}");
        }
        loop {
            std::hint::spin_loop();
        }
    });
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        let mut bytes = [0; 4096];
        while let Ok(count) = stream.read(&mut bytes) {
            if count == 0 || stream.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
    }
    Ok(())
}
