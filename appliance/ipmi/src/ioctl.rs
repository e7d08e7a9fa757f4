//! Two calls of Linux' IPMI driver (`linux/ipmi.h`): give a request, take an answer.
#![expect(unsafe_code, reason = "ioctl takes structures with pointers in them")]

use std::{fs::File, io, os::fd::AsFd as _, os::fd::AsRawFd as _};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::message::Request;

/// `struct ipmi_system_interface_addr`: the controller itself.
#[repr(C)]
struct Address {
    kind: libc::c_int,
    channel: libc::c_short,
    unit: libc::c_uchar,
}

const SYSTEM_INTERFACE: libc::c_int = 0x0c;
const CONTROLLER_CHANNEL: libc::c_short = 0x0f;
/// `IPMI_RESPONSE_RECV_TYPE`.
const RESPONSE: libc::c_int = 1;
/// `IPMI_MAX_MSG_LENGTH`.
const MESSAGE_BYTES_MAX: u16 = 272;
/// Answers to requests of others before us, or events, that are passed over.
const STRANGERS_MAX: u32 = 64;

/// `struct ipmi_msg`.
#[repr(C)]
struct Message {
    family: u8,
    command: u8,
    length: u16,
    data: *mut u8,
}

/// `struct ipmi_req`.
#[repr(C)]
struct Send {
    address: *const Address,
    address_length: libc::c_uint,
    number: libc::c_long,
    message: Message,
}

/// `struct ipmi_recv`.
#[repr(C)]
struct Receive {
    kind: libc::c_int,
    address: *mut [u8; 64],
    address_length: libc::c_uint,
    number: libc::c_long,
    message: Message,
}

const READ: u32 = 2;
const WRITE: u32 = 1;

/// `_IOC` of `asm-generic/ioctl.h`, with the driver's letter.
#[expect(clippy::cast_possible_truncation, reason = "the structures above have some dozen bytes")]
const fn number(direction: u32, call: u32, size: usize) -> libc::Ioctl {
    ((direction << 30) | ((size as u32 & 0x3fff) << 16) | (0x69 << 8) | call) as libc::Ioctl
}

const SEND: libc::Ioctl = number(READ, 13, size_of::<Send>());
/// Cuts what is too long rather than refusing it.
const RECEIVE: libc::Ioctl = number(READ | WRITE, 11, size_of::<Receive>());

/// Gives a request to the driver.
pub(crate) fn send(file: &File, request: &Request, number: i32) -> io::Result<()> {
    let address = Address { kind: SYSTEM_INTERFACE, channel: CONTROLLER_CHANNEL, unit: request.unit & 3 };
    let mut data = request.data.clone();
    let length = u16::try_from(data.len()).ok().filter(|length| *length <= MESSAGE_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let message = Message {
        family: request.family.number(),
        command: request.command,
        length,
        data: data.as_mut_ptr(),
    };
    let mut send = Send {
        address: &raw const address,
        address_length: u32::try_from(size_of::<Address>()).unwrap_or(0),
        number: number.into(),
        message,
    };
    // SAFETY: the structure is that of `linux/ipmi.h`; its pointers are to `address` and `data`, which live until
    // the call returns and are as long as their lengths say; the driver copies from them and keeps none.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), SEND, &raw mut send) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes the answer to a request: completion code and data; `None` if none came in time.
pub(crate) fn receive(file: &File, number: i32, milliseconds: u16) -> io::Result<Option<Vec<u8>>> {
    for _ in 0..STRANGERS_MAX {
        let mut ready = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(milliseconds))? == 0 {
            return Ok(None);
        }
        let (mut address, mut data) = ([0; 64], [0; MESSAGE_BYTES_MAX as usize]);
        let mut receive = Receive {
            kind: 0,
            address: &raw mut address,
            address_length: 64,
            number: 0,
            message: Message { family: 0, command: 0, length: MESSAGE_BYTES_MAX, data: data.as_mut_ptr() },
        };
        // SAFETY: the structure is that of `linux/ipmi.h`; its pointers are to `address` and `data`, which live until
        // the call returns; the driver writes at most as much as the lengths say, and keeps none.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), RECEIVE, &raw mut receive) };
        if done < 0 {
            let error = io::Error::last_os_error();
            // Cut to what fits, and that is longer than any answer that is read here.
            if error.raw_os_error() != Some(libc::EMSGSIZE) {
                return Err(error);
            }
        }
        if receive.kind == RESPONSE && receive.number == number.into() {
            return Ok(Some(data.get(..usize::from(receive.message.length)).unwrap_or(&data).to_vec()));
        }
    }
    Ok(None)
}
