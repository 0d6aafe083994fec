//! What the gateway thread and the shard's thread tell each other, over two bounded rings, and how the shard wakes a gateway that sleeps. No
//! sockets here.

use nix::sys::eventfd::EventFd;
use rtrb::{Consumer, Producer, PushError, RingBuffer};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use wire::moldudp64::{BLOCK_HEADER_LENGTH, MAX_PAYLOAD};
use wire::ouch::MAX_MESSAGE_LENGTH;
use wire::soupbintcp::{LoginAccepted, LoginRequest};

/// Messages of clients on their way to the shard.
const UPSTREAM: usize = 4096;
/// Datagrams of messages on their way to clients: 1.5 MB.
const DOWNSTREAM: usize = 1024;

pub const MAX_BLOCK: usize = BLOCK_HEADER_LENGTH + MAX_MESSAGE_LENGTH;

/// Number of a connection, never used twice.
pub type ConnectionId = u32;

// Every slot of the ring has the size of the largest: a box for it would be an allocation on the order path.
#[allow(clippy::large_enum_variant)]
pub enum ToShard {
    Login {
        connection: ConnectionId,
        source: [u8; 16],
        request: LoginRequest,
        /// It came to the drop copy port: for accounts of that kind only.
        drop_copy: bool,
    },
    /// One message as a MoldUDP64 block.
    Message {
        connection: ConnectionId,
        length: u16,
        block: [u8; MAX_BLOCK],
    },
    Logout {
        connection: ConnectionId,
    },
    /// The connection is gone, or its client has fallen silent.
    Lost {
        connection: ConnectionId,
    },
}

// As `ToShard`.
#[allow(clippy::large_enum_variant)]
pub enum FromShard {
    Accepted {
        connection: ConnectionId,
        accepted: LoginAccepted,
    },
    Rejected {
        connection: ConnectionId,
        reason: u8,
    },
    /// The session is no longer this connection's.
    Ended {
        connection: ConnectionId,
    },
    /// A MoldUDP64 datagram of the session's downstream.
    Datagram {
        connection: ConnectionId,
        length: u16,
        bytes: [u8; MAX_PAYLOAD],
    },
}

/// The shard's ends.
pub struct GatewayLink {
    pub from: Consumer<ToShard>,
    pub to: ToGateway,
}

/// The gateway's ends.
pub struct ShardLink {
    pub from: Consumer<FromShard>,
    pub to: Producer<ToShard>,
    pub bell: Arc<Bell>,
}

pub fn rings() -> (GatewayLink, ShardLink) {
    let (to_shard, from_gateway) = RingBuffer::new(UPSTREAM);
    let (to_gateway, from_shard) = RingBuffer::new(DOWNSTREAM);
    let bell = Arc::new(Bell::default());
    let to_gateway = ToGateway { ring: to_gateway, bell: Arc::clone(&bell) };
    (GatewayLink { from: from_gateway, to: to_gateway }, ShardLink { from: from_shard, to: to_shard, bell })
}

/// The shard's end of the ring to the gateway.
pub struct ToGateway {
    ring: Producer<FromShard>,
    bell: Arc<Bell>,
}

impl ToGateway {
    /// Hands over an item, and wakes the gateway if it sleeps: a system call then, and one load otherwise.
    // As rtrb's own: a refused item is given back, and a box for it would be an allocation.
    #[allow(clippy::result_large_err)]
    #[inline]
    pub fn push(&mut self, item: FromShard) -> Result<(), PushError<FromShard>> {
        self.ring.push(item)?;
        self.bell.ring();
        Ok(())
    }

    #[inline]
    pub fn is_full(&self) -> bool {
        self.ring.is_full()
    }
}

/// Wakes the gateway's thread. The thread says that it will sleep, looks at its ring once more, and sleeps on the descriptor; whoever fills
/// the ring looks afterwards whether it sleeps. Each writes, then reads what the other writes, with a fence between: one of them sees the other.
#[derive(Debug, Default)]
pub struct Bell {
    sleeps: AtomicBool,
    /// Set by the gateway before it first sleeps, and watched for edges: it is never read.
    descriptor: OnceLock<EventFd>,
}

impl Bell {
    /// What the gateway sleeps on from now on.
    pub fn hang(&self, descriptor: EventFd) -> &EventFd {
        self.descriptor.get_or_init(|| descriptor)
    }

    /// The gateway's: what was put into the ring before this is seen after it, what comes later rings.
    pub fn will_sleep(&self) {
        self.sleeps.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The gateway's, after its sleep.
    pub fn is_awake(&self) {
        self.sleeps.store(false, Ordering::Relaxed);
    }

    #[inline]
    fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleeps.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Once for each sleep, whatever is put into the ring meanwhile.
    #[cold]
    fn wake(&self) {
        if self.sleeps.swap(false, Ordering::Relaxed)
            && let Some(descriptor) = self.descriptor.get()
        {
            // Cannot fail: no counter of sleeps reaches 2^64.
            let _ = descriptor.write(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::eventfd::EfdFlags;
    use std::os::fd::AsFd;

    /// Without the fence of either side, or without the second look at the ring, an item is found by the timeout alone.
    #[test]
    fn a_gateway_that_goes_to_sleep_never_misses_an_item() {
        const ITEMS: u32 = 20_000;
        let (mut shard, mut gateway) = rings();
        let bell = Arc::clone(&gateway.bell);
        let descriptor = bell.hang(EventFd::from_flags(EfdFlags::EFD_NONBLOCK).expect("eventfd"));
        let pushing = std::thread::spawn(move || {
            for connection in 0..ITEMS {
                while shard.to.push(FromShard::Ended { connection }).is_err() {
                    std::thread::yield_now();
                }
                // The gateway must have had time to fall asleep now and then.
                for _ in 0..connection % 64 {
                    std::hint::spin_loop();
                }
            }
        });
        let mut next = 0;
        while next < ITEMS {
            if let Ok(item) = gateway.from.pop() {
                assert!(matches!(item, FromShard::Ended { connection } if connection == next));
                next += 1;
                continue;
            }
            bell.will_sleep();
            if gateway.from.is_empty() {
                let mut watched = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
                let woken = poll(&mut watched, PollTimeout::from(10_000u16)).expect("poll");
                assert_eq!(woken, 1, "item {next}: nobody rang");
            }
            bell.is_awake();
            // Here the descriptor is watched for its level.
            let _ = descriptor.read();
        }
        pushing.join().expect("the other side");
    }
}
