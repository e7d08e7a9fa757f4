//! Waiting: epoll over all sockets, and an eventfd by which the owner ends the thread.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    sync::Arc,
    time::Duration,
};

/// Sockets looked at in one turn.
const READY_MAX: usize = 64;
/// The wake's mark; sockets are marked by their number.
const WAKE: u64 = u64::MAX;

/// Ends the wait from elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Wake(Arc<OwnedFd>);

impl Wake {
    #[expect(unsafe_code, reason = "eventfd has no safe wrapper here")]
    fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked and owned at once.
        let made = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        owned(made).map(|fd| Self(Arc::new(fd)))
    }

    /// Ends it.
    #[expect(unsafe_code, reason = "eventfd has no safe wrapper here")]
    pub(crate) fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the bytes live through the call.  It can fail only if the counter is full, and then it is awake.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

/// What is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// The owner wants the end.
    Stop,
    /// This socket has packets; with `error`, ICMP messages too.
    Socket { number: usize, error: bool },
}

/// The sockets that are waited for.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
    wake: Wake,
}

impl Poll {
    #[expect(unsafe_code, reason = "epoll has no safe wrapper here")]
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked and owned at once.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        let poll = Self { epoll, wake: Wake::new()? };
        poll.add(poll.wake.0.as_raw_fd(), WAKE)?;
        Ok(poll)
    }

    pub(crate) fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// Waits for this socket too.
    #[expect(unsafe_code, reason = "epoll has no safe wrapper here")]
    pub(crate) fn add(&self, fd: RawFd, number: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: number };
        // SAFETY: the event lives through the call.
        let done =
            unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until something is ready or the time is over.
    #[expect(unsafe_code, reason = "epoll has no safe wrapper here")]
    pub(crate) fn wait(&self, at_most: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        // Rounded up: a deadline is not met before its time.
        let milliseconds =
            at_most.map_or(-1, |wait| i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; READY_MAX];
        let room = i32::try_from(events.len()).unwrap_or_default();
        // SAFETY: the events live through the call, and `room` is their number.
        let count =
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), room, milliseconds) };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        };
        ready.extend(events.iter().take(count).map(|event| {
            let (events, mark) = (event.events, event.u64);
            match usize::try_from(mark) {
                Ok(number) if mark != WAKE => {
                    Ready::Socket { number, error: events & libc::EPOLLERR.cast_unsigned() != 0 }
                }
                Ok(_) | Err(_) => Ready::Stop,
            }
        }));
        Ok(())
    }
}

#[expect(unsafe_code, reason = "file descriptors from system calls")]
fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a system call has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
