//! How the program is attached: the modes there are, those that may be tried, and why one was not taken.
use std::fmt;

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver, before a socket buffer is made.
    Native,
    /// In the kernel's receive path, after: works on every interface, slower.
    Generic,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// Which rungs of the ladder may be tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModeChoice {
    /// Native, else generic.
    #[default]
    Best,
    Only(XdpMode),
}

/// A mode that was tried and why it did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepDown {
    pub mode: XdpMode,
    pub reason: String,
}

impl fmt::Display for StepDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mode: {}", self.mode, self.reason)
    }
}
