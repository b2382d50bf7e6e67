//! How a worker reads a list: from the page cache or not at all.
//!
//! `preadv2` with `RWF_NOWAIT` says when the disk would have to be waited for; the slow half of the service then reads again and waits.

use std::fs::File;
use std::io;

use crate::blocklist::file::{BlockReader, Waiting};

/// Reads blocks without waiting where the caller may not wait.
#[derive(Debug, Clone, Copy, Default)]
pub struct PageCache;

impl BlockReader for PageCache {
    #[cfg(target_os = "linux")]
    fn read(&self, file: &File, buf: &mut [u8], offset: u64, may_wait: bool) -> io::Result<bool> {
        if may_wait {
            return Waiting.read(file, buf, offset, true);
        }
        // A short read leaves the rest to whoever may wait; so does the end of a file that has become too short, which he then finds.
        Ok(crate::sys::linux::read_at_nowait(file, buf, offset)? == Some(buf.len()))
    }

    #[cfg(not(target_os = "linux"))]
    fn read(&self, file: &File, buf: &mut [u8], offset: u64, may_wait: bool) -> io::Result<bool> {
        Waiting.read(file, buf, offset, may_wait)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a test with a file of its own")]

    use super::*;

    #[test]
    fn what_is_cached_is_read_and_what_is_cut_off_is_an_error_for_who_waits() {
        let path = std::env::temp_dir().join(format!("postern-pagecache-{}", std::process::id()));
        std::fs::write(&path, [7; 8192]).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut block = [0; 4096];
        assert!(PageCache.read(&file, &mut block, 4096, true).unwrap() && block == [7; 4096]);
        assert!(!PageCache.read(&file, &mut block, 6000, false).unwrap());
        assert_eq!(PageCache.read(&file, &mut block, 6000, true).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
