//! The optional elements at the end of an OUCH message: reading, checking, writing; not what they mean.
//!
//! An element is `[length u8 = 1 + value bytes][tag u8][value]`; the appendage is their concatenation behind a
//! u16 AppendageLength, which counts all bytes of all elements. ("TagValue" of the tables.)

use super::tags::{MAX_APPENDAGE_LENGTH, TagSet, value_length};
use crate::{AppendageFault, DecodeError};
use std::fmt;

/// The validated elements of one message: each tag at most once, known, allowed, with a value of its type's length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Appendage<'a> {
    bytes: &'a [u8],
}

impl<'a> Appendage<'a> {
    /// No elements.
    pub const EMPTY: Appendage<'static> = Appendage { bytes: &[] };

    /// Checks the elements in `bytes` against the tags that the message `what` allows.
    #[inline]
    pub fn parse(what: &'static str, bytes: &'a [u8], allowed: TagSet) -> Result<Self, DecodeError> {
        let mut rest = bytes;
        let mut seen = TagSet::EMPTY;
        while let Some((&length, after_length)) = rest.split_first() {
            let tag = if length == 0 { 0 } else { after_length.first().copied().unwrap_or(0) };
            let fault = if length == 0 {
                AppendageFault::NoTag
            } else if after_length.len() < usize::from(length) {
                AppendageFault::Truncated
            } else if !allowed.contains(tag) {
                match value_length(tag) {
                    Some(_) => AppendageFault::ForbiddenTag,
                    None => AppendageFault::UnknownTag,
                }
            } else if value_length(tag) != Some(usize::from(length) - 1) {
                AppendageFault::ValueLength
            } else if seen.contains(tag) {
                AppendageFault::DuplicateTag
            } else {
                seen = seen.with(tag);
                rest = &after_length[usize::from(length)..];
                continue;
            };
            return Err(DecodeError::BadAppendage { what, tag, fault });
        }
        Ok(Self { bytes })
    }

    /// The elements as they are on the wire, without AppendageLength.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether there are no elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Tag and value of each element, in wire order.
    #[inline]
    pub fn iter(&self) -> Elements<'a> {
        Elements { rest: self.bytes }
    }

    /// The value of `tag`, unless absent or not one byte long.
    #[inline]
    pub fn get_u8(&self, tag: u8) -> Option<u8> {
        self.get(tag).map(u8::from_be_bytes)
    }

    /// The value of `tag`, unless absent or not two bytes long.
    #[inline]
    pub fn get_u16(&self, tag: u8) -> Option<u16> {
        self.get(tag).map(u16::from_be_bytes)
    }

    /// The value of `tag`, unless absent or not four bytes long.
    #[inline]
    pub fn get_u32(&self, tag: u8) -> Option<u32> {
        self.get(tag).map(u32::from_be_bytes)
    }

    /// The value of `tag`, unless absent or not four bytes long. For the peg offsets.
    #[inline]
    pub fn get_i32(&self, tag: u8) -> Option<i32> {
        self.get(tag).map(i32::from_be_bytes)
    }

    /// The value of `tag`, unless absent or not eight bytes long.
    #[inline]
    pub fn get_u64(&self, tag: u8) -> Option<u64> {
        self.get(tag).map(u64::from_be_bytes)
    }

    /// The value of `tag`, unless absent or not two bytes long.
    #[inline]
    pub fn get_alpha2(&self, tag: u8) -> Option<[u8; 2]> {
        self.get(tag)
    }

    /// The value of `tag`, unless absent or not four bytes long.
    #[inline]
    pub fn get_alpha4(&self, tag: u8) -> Option<[u8; 4]> {
        self.get(tag)
    }

    #[inline]
    fn get<const WIDTH: usize>(&self, tag: u8) -> Option<[u8; WIDTH]> {
        let (_, value) = self.iter().find(|&(found, _)| found == tag)?;
        value.try_into().ok()
    }
}

impl<'a> IntoIterator for Appendage<'a> {
    type Item = (u8, &'a [u8]);
    type IntoIter = Elements<'a>;

    #[inline]
    fn into_iter(self) -> Elements<'a> {
        self.iter()
    }
}

impl fmt::Debug for Appendage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(tag, value)| (super::tag::name(tag), value))).finish()
    }
}

/// Iterator over the elements of an [`Appendage`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (&length, after_length) = self.rest.split_first()?;
        let (element, rest) = after_length.split_at_checked(usize::from(length))?;
        self.rest = rest;
        let (&tag, value) = element.split_first()?;
        Some((tag, value))
    }
}

/// Collects elements for a message that is about to be written.
///
/// ```
/// use wire::ouch::{AppendageBuilder, tag};
/// let mut appendage = AppendageBuilder::new();
/// appendage.alpha4(tag::FIRM, *b"LIME").u32(tag::MIN_QTY, 100);
/// assert_eq!(appendage.as_bytes(), b"\x05\x02LIME\x05\x03\x00\x00\x00\x64");
/// ```
///
/// It has room for every tag once. Each method must be given a tag whose value has the method's width, and no tag twice:
/// debug builds assert it, release builds leave the element out.
#[derive(Clone, Debug)]
pub struct AppendageBuilder {
    bytes: [u8; MAX_APPENDAGE_LENGTH],
    length: usize,
    tags: TagSet,
}

impl Default for AppendageBuilder {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl AppendageBuilder {
    /// No elements yet.
    #[inline]
    pub const fn new() -> Self {
        Self { bytes: [0; MAX_APPENDAGE_LENGTH], length: 0, tags: TagSet::EMPTY }
    }

    /// The elements so far, as the `appendage` argument of a message's `write`.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Removes all elements.
    #[inline]
    pub fn clear(&mut self) {
        self.length = 0;
        self.tags = TagSet::EMPTY;
    }

    /// Appends a one-byte value.
    #[inline]
    pub fn u8(&mut self, tag: u8, value: u8) -> &mut Self {
        self.push(tag, &[value])
    }

    /// Appends a two-byte value.
    #[inline]
    pub fn u16(&mut self, tag: u8, value: u16) -> &mut Self {
        self.push(tag, &value.to_be_bytes())
    }

    /// Appends a four-byte value.
    #[inline]
    pub fn u32(&mut self, tag: u8, value: u32) -> &mut Self {
        self.push(tag, &value.to_be_bytes())
    }

    /// Appends a signed four-byte value.
    #[inline]
    pub fn i32(&mut self, tag: u8, value: i32) -> &mut Self {
        self.push(tag, &value.to_be_bytes())
    }

    /// Appends an eight-byte value.
    #[inline]
    pub fn u64(&mut self, tag: u8, value: u64) -> &mut Self {
        self.push(tag, &value.to_be_bytes())
    }

    /// Appends two characters.
    #[inline]
    pub fn alpha2(&mut self, tag: u8, value: [u8; 2]) -> &mut Self {
        self.push(tag, &value)
    }

    /// Appends four characters.
    #[inline]
    pub fn alpha4(&mut self, tag: u8, value: [u8; 4]) -> &mut Self {
        self.push(tag, &value)
    }

    /// Appends those elements of a received appendage whose tags are in `tags`, as an answer that echoes an order does.
    #[inline]
    pub fn echo(&mut self, received: Appendage<'_>, tags: TagSet) -> &mut Self {
        for (tag, value) in received {
            if tags.contains(tag) {
                self.push(tag, value);
            }
        }
        self
    }

    #[inline]
    fn push(&mut self, tag: u8, value: &[u8]) -> &mut Self {
        let legal = value_length(tag) == Some(value.len()) && !self.tags.contains(tag);
        debug_assert!(legal, "tag {tag} with {} bytes, or a second time", value.len());
        let element = self.bytes[self.length..].split_at_mut_checked(2 + value.len());
        if let (true, Some((element, _))) = (legal, element) {
            element[0] = value.len() as u8 + 1;
            element[1] = tag;
            element[2..].copy_from_slice(value);
            self.length += 2 + value.len();
            self.tags = self.tags.with(tag);
        }
        self
    }
}

/// AppendageLength and the elements; `None` when they do not fit.
#[inline]
pub(crate) fn write(elements: &[u8], out: &mut [u8]) -> Option<usize> {
    let length = u16::try_from(elements.len()).ok()?;
    let (length_field, rest) = out.split_first_chunk_mut::<2>()?;
    *length_field = length.to_be_bytes();
    rest.get_mut(..elements.len())?.copy_from_slice(elements);
    Some(2 + elements.len())
}

/// The counterpart of [`write()`]: `rest` is what follows the `fixed` bytes of the message `what`.
#[inline]
pub(crate) fn read<'a>(
    what: &'static str,
    fixed: usize,
    rest: &'a [u8],
    allowed: TagSet,
) -> Result<Appendage<'a>, DecodeError> {
    let got = fixed + rest.len();
    let Some((&length, elements)) = rest.split_first_chunk::<2>() else {
        return Err(DecodeError::TooShort { what, need: fixed + 2, got });
    };
    let length = usize::from(u16::from_be_bytes(length));
    if length != elements.len() {
        return Err(DecodeError::BadLength { what, need: fixed + 2 + length, got });
    }
    Appendage::parse(what, elements, allowed)
}
