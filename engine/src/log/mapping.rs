//! Memory of a segment, shared by the shard thread (who stores) and the background threads (who hand it to the kernel). No format and no
//! policy; the only code of the journal that touches memory unsafely.
//!
//! Why unsafe: a journal that survives the process without a system call per record has to store into a shared file mapping, and a
//! buffer has to be handed to the kernel by one thread while another still fills the rest of it.
#![allow(unsafe_code)]

use std::{fs::File, io, ops::Range, ptr::NonNull, sync::Arc};

/// One `mmap`ed range, unmapped with the last owner.
struct Mapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is plain bytes, not tied to a thread; who may touch which of them is the business of `Stores` and `Loads` below.
unsafe impl Send for Mapping {}
// SAFETY: as above: `&Mapping` alone reads and writes nothing.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `base` and `length` are those of a successful mmap that nothing else unmaps, and the owners are gone.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}

fn map(length: usize, flags: libc::c_int, file: Option<&File>) -> io::Result<Mapping> {
    use std::os::fd::AsRawFd;
    let descriptor = file.map_or(-1, AsRawFd::as_raw_fd);
    // SAFETY: a new mapping at an address of the kernel's choice aliases no Rust memory; the result is checked before use.
    let base = unsafe {
        libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, descriptor, 0)
    };
    match NonNull::new(base.cast::<u8>()) {
        Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => Ok(Mapping { base, length }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Both ends of a file mapped shared: what is stored is in the page cache at once.
pub fn map_file(file: &File, length: usize) -> io::Result<(Stores, Loads)> {
    Ok(halves(map(length, libc::MAP_SHARED, Some(file))?))
}

/// Both ends of zeroed memory of the process.
pub fn map_anonymous(length: usize) -> io::Result<(Stores, Loads)> {
    let mapping = map(length, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, None)?;
    // Huge pages only make the prefault cheaper; a kernel without them is as good.
    // SAFETY: advice about our own fresh mapping, whole.
    unsafe { libc::madvise(mapping.base.as_ptr().cast(), mapping.length, libc::MADV_HUGEPAGE) };
    Ok(halves(mapping))
}

fn halves(mapping: Mapping) -> (Stores, Loads) {
    let mapping = Arc::new(mapping);
    (Stores { mapping: mapping.clone() }, Loads { mapping })
}

/// The only one who stores. Not `Clone`.
pub struct Stores {
    mapping: Arc<Mapping>,
}

impl Stores {
    /// Out of range nothing is stored: the writer checked, and a torn assumption must not become a torn process.
    #[inline]
    pub fn store(&mut self, offset: usize, bytes: &[u8]) {
        let in_range = offset.checked_add(bytes.len()).is_some_and(|end| end <= self.mapping.length);
        debug_assert!(in_range, "store of {} bytes at {offset} of {}", bytes.len(), self.mapping.length);
        if in_range {
            // SAFETY: in range, checked above; `bytes` cannot overlap, since no reference to the mapping is ever handed out; `&mut self`
            // makes this the only store, and nothing else in the process reads the memory.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    bytes.as_ptr(),
                    self.mapping.base.as_ptr().add(offset),
                    bytes.len(),
                );
            }
        }
        // A process killed between two stores must leave a prefix of them: the compiler may not move one over the other.
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::Release);
    }
}

/// Who hands ranges to the system and touches pages ahead of the storing side.
pub struct Loads {
    mapping: Arc<Mapping>,
}

impl Loads {
    /// `pwrite` of `range` to the same offset of `file`, `durably` with a sync of that range; returns the bytes taken. The kernel does the
    /// reading: no reference to memory that the other side may be storing beside ever exists. Which range holds whole records is the
    /// caller's knowledge.
    pub fn write_to(&self, file: &File, range: Range<usize>, durably: bool) -> io::Result<usize> {
        use std::os::fd::AsRawFd;
        if range.start > range.end || range.end > self.mapping.length {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = if durably { libc::RWF_DSYNC } else { 0 };
        // SAFETY: in range, checked above; the mapping lives as long as `self`.
        let taken = unsafe {
            let base = self.mapping.base.as_ptr().add(range.start).cast();
            let part = libc::iovec { iov_base: base, iov_len: range.len() };
            libc::pwritev2(file.as_raw_fd(), &part, 1, range.start as libc::off_t, flags)
        };
        usize::try_from(taken).map_err(|_| io::Error::last_os_error())
    }

    /// Makes the pages of `range` present and writable.
    pub fn prefault(&self, range: Range<usize>) -> io::Result<()> {
        const PAGE: usize = 4096;
        let (start, end) = (range.start & !(PAGE - 1), range.end.min(self.mapping.length));
        if start >= end {
            return Ok(());
        }
        // SAFETY: within the mapping; populating changes no byte, so it may run beside stores.
        let result = unsafe {
            libc::madvise(
                self.mapping.base.as_ptr().add(start).cast(),
                end - start,
                libc::MADV_POPULATE_WRITE,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
