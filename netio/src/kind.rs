//! The kinds of packet port that this build can open, by name. Opening is each kind's own business, and so is what it needs.

use std::fmt;
use std::str::FromStr;

/// A kind of packet port that carries real datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// Kernel sockets: everywhere, without rights.
    Udp,
    /// AF_XDP: past the kernel, on an interface.
    #[cfg(feature = "xdp")]
    Xdp,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortKindError {
    #[error("{0:?} is no port: expected udp or xdp")]
    Unknown(String),
    #[error("this build is without AF_XDP (cargo feature \"xdp\"): expected udp")]
    WithoutXdp,
}

impl FromStr for PortKind {
    type Err = PortKindError;

    fn from_str(name: &str) -> Result<Self, PortKindError> {
        match name {
            "udp" => Ok(Self::Udp),
            #[cfg(feature = "xdp")]
            "xdp" => Ok(Self::Xdp),
            #[cfg(not(feature = "xdp"))]
            "xdp" => Err(PortKindError::WithoutXdp),
            other => Err(PortKindError::Unknown(other.to_owned())),
        }
    }
}

impl fmt::Display for PortKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            #[cfg(feature = "xdp")]
            Self::Xdp => "xdp",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_others_are_refused_by_name() {
        assert_eq!("udp".parse::<PortKind>().unwrap().to_string(), "udp");
        assert_eq!("tcp".parse::<PortKind>(), Err(PortKindError::Unknown("tcp".to_owned())));
        assert_eq!("xdp".parse::<PortKind>().is_ok(), cfg!(feature = "xdp"));
    }
}
