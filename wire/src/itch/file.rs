//! Nasdaq's BinaryFILE framing, `u16 length, message` repeated: reading and writing; not decompression.

use std::fmt;
use std::io::{self, Read};

/// Bytes in front of each message.
const LENGTH_FIELD: usize = 2;
/// Holds the longest frame that the length field can announce, and many usual ones per read.
const BUFFER_LENGTH: usize = 128 * 1024;

/// Reads messages one by one from anything that gives bytes.
///
/// ```
/// use wire::itch::file::Frames;
/// let mut frames = Frames::new(&b"\x00\x03abc\x00\x02de"[..]);
/// assert_eq!(frames.next_frame().unwrap(), Some(&b"abc"[..]));
/// assert_eq!(frames.next_frame().unwrap(), Some(&b"de"[..]));
/// assert_eq!(frames.next_frame().unwrap(), None);
/// ```
#[derive(Debug)]
pub struct Frames<R> {
    reader: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    offset: u64,
    finished: bool,
}

impl<R: Read> Frames<R> {
    /// Reads ahead of the frames that it hands out, so `reader` needs no buffer of its own.
    pub fn new(reader: R) -> Self {
        let buffer = vec![0; BUFFER_LENGTH].into_boxed_slice();
        Self { reader, buffer, start: 0, end: 0, offset: 0, finished: false }
    }

    /// The next message; `None` at the end of the file and after a length of 0, which ends the session.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        if self.finished || !self.fill(LENGTH_FIELD)? {
            return Ok(None);
        }
        let length = usize::from(u16::from_be_bytes([self.buffer[self.start], self.buffer[self.start + 1]]));
        if length == 0 {
            self.finished = true;
            return Ok(None);
        }
        self.fill(LENGTH_FIELD + length)?;
        let message = self.start + LENGTH_FIELD..self.start + LENGTH_FIELD + length;
        self.start = message.end;
        self.offset += (LENGTH_FIELD + length) as u64;
        Ok(Some(&self.buffer[message]))
    }

    /// Bytes of the file before the next frame.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Makes `need` bytes available; false when the file ends before the first of them.
    fn fill(&mut self, need: usize) -> Result<bool, FrameError> {
        if self.end - self.start >= need {
            return Ok(true);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < need {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) if self.end == 0 => return Ok(false),
                Ok(0) => return Err(FrameError::Truncated { offset: self.offset, need, got: self.end }),
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FrameError::Read(error)),
            }
        }
        Ok(true)
    }
}

/// Writes one frame; returns its length, or 0 when `out` is too short or the message longer than 65,535 bytes.
pub fn write_frame(message: &[u8], out: &mut [u8]) -> usize {
    let Ok(length) = u16::try_from(message.len()) else { return 0 };
    let Some(frame) = out.get_mut(..LENGTH_FIELD + message.len()) else { return 0 };
    frame[..LENGTH_FIELD].copy_from_slice(&length.to_be_bytes());
    frame[LENGTH_FIELD..].copy_from_slice(message);
    frame.len()
}

/// Why the next frame cannot be had.
#[derive(Debug)]
pub enum FrameError {
    /// The reader failed.
    Read(io::Error),
    /// The file ends inside the frame at `offset`, which needs `need` bytes.
    Truncated { offset: u64, need: usize, got: usize },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot read the next frame: {error}"),
            Self::Truncated { offset, need, got } => {
                write!(f, "the file ends inside the frame at byte {offset}: needs {need} bytes, got {got}")
            }
        }
    }
}

impl std::error::Error for FrameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            Self::Truncated { .. } => None,
        }
    }
}
