//! What a process may do and where its threads run: dropping root, no new privileges, CPU pinning.

use std::ffi::CString;
use std::io;
use std::mem::zeroed;

/// A user to run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
}

/// Looks a user up by name.
///
/// # Errors
/// `NotFound` where there is none, `InvalidInput` where the name holds a zero octet.
pub fn user(name: &str) -> io::Result<User> {
    let c_name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut buffer = vec![0; 16 << 10];
    // SAFETY: an all-zero passwd is a value (integers and null pointers).
    let mut entry: libc::passwd = unsafe { zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are to live values, the buffer's length is its own, and the strings it fills are not kept.
    let result = unsafe { libc::getpwnam_r(c_name.as_ptr(), &mut entry, buffer.as_mut_ptr(), buffer.len(), &mut found) };
    match result {
        0 if found.is_null() => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no user {name:?}"))),
        0 => Ok(User { uid: entry.pw_uid, gid: entry.pw_gid }),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Holds the allocator to two arenas. glibc makes up to eight for each processor, and what tasks free in one is not used by the others:
/// 100,000 cached misses took 105 MB in the default and 74 MB in two. Memory is what an old box has least of, and the hot path allocates
/// nothing. To be called before other threads start; gives whether it was done. `MALLOC_ARENA_MAX` has no say after it.
#[cfg(target_env = "gnu")]
pub fn few_arenas() -> bool {
    // SAFETY: sets one number inside the allocator.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) == 1 }
}

/// Other allocators have no arenas to hold back.
#[cfg(not(target_env = "gnu"))]
pub fn few_arenas() -> bool {
    false
}

/// The effective user ID of this process.
pub fn effective_uid() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() }
}

/// Becomes `user` for good: groups, group and user IDs, keeping only `CAP_NET_BIND_SERVICE`, and nothing executed later may gain more.
/// To be called after binding and before other threads start, since capabilities belong to threads.
///
/// # Errors
/// What the system says; the process must not go on as it is then.
pub fn become_user(user: User) -> io::Result<()> {
    become_with(user, CAP_NET_BIND_SERVICE)
}

/// As [`become_user`], but keeping only `CAP_NET_RAW`: for the sensor, whose sockets capture.
///
/// # Errors
/// What the system says; the process must not go on as it is then.
pub fn become_watcher(user: User) -> io::Result<()> {
    become_with(user, CAP_NET_RAW)
}

/// Keeps only `CAP_NET_RAW` of what a process that is not root was given.
///
/// # Errors
/// What the system says: the process does not have it.
pub fn keep_only_net_raw() -> io::Result<()> {
    keep_only(CAP_NET_RAW)?;
    no_new_privileges()
}

fn become_with(user: User, capability: u32) -> io::Result<()> {
    check(keep_capabilities(true))?;
    // SAFETY: plain system calls on integers and one null pointer with count 0; no memory is shared with the kernel.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(user.gid, user.gid, user.gid))?;
        check(libc::setresuid(user.uid, user.uid, user.uid))?;
    }
    keep_only(capability)?;
    check(keep_capabilities(false))?;
    no_new_privileges()
}

/// From now on no `execve` gains privileges (set-user-ID programs, file capabilities).
///
/// # Errors
/// What the system says.
pub fn no_new_privileges() -> io::Result<()> {
    // SAFETY: a plain system call on integers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}

fn keep_capabilities(on: bool) -> libc::c_int {
    // SAFETY: a plain system call on integers.
    unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, libc::c_ulong::from(on), 0, 0, 0) }
}

/// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h: two words a set.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
/// `CAP_NET_BIND_SERVICE` of linux/capability.h: ports below 1024, so that a reload can bind new addresses.
const CAP_NET_BIND_SERVICE: u32 = 10;
/// `CAP_NET_RAW` of linux/capability.h: packet sockets.
const CAP_NET_RAW: u32 = 13;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilitySets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn keep_only(capability: u32) -> io::Result<()> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let low = CapabilitySets { effective: 1 << capability, permitted: 1 << capability, inheritable: 0 };
    let sets = [low, CapabilitySets { effective: 0, permitted: 0, inheritable: 0 }];
    // SAFETY: header and two sets are laid out as linux/capability.h has them for this version, live, and only read.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Pins the calling thread to one CPU.
///
/// # Errors
/// What the system says: no such CPU, or not ours to use.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: an all-zero set is an empty one, the index is inside it, and the kernel reads exactly its size.
    unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(cpu, &mut set);
        check(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_a_user_and_nonsense_is_not() {
        assert_eq!(user("root").unwrap(), User { uid: 0, gid: 0 });
        assert_eq!(user("no-such-user-here").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_thread_can_be_pinned_to_a_cpu_that_exists() {
        std::thread::spawn(|| {
            pin_to_cpu(0).unwrap();
            assert!(pin_to_cpu(1000).is_err());
            assert_eq!(pin_to_cpu(usize::MAX).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        })
        .join()
        .unwrap();
    }
}
