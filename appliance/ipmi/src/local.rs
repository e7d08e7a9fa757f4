//! The controller from inside its machine: `/dev/ipmi0`, which Linux' `ipmi_devintf` gives root.
//!
//! No password is asked for there: this is how a machine tells where its controller is and gives us an account on
//! it.  Calls block, each for some seconds at most.  Read next: `ioctl.rs`, the only place here that is not safe.

use std::{
    fs::{File, OpenOptions},
    future::Future,
    path::Path,
    pin::pin,
    task::{Context, Poll, Waker},
};

use crate::{
    Level, Password,
    command::{
        Link,
        lan::{self, Lan},
        user,
    },
    error::IpmiError,
    ioctl,
    message::{Answer, Request},
    surface::{self, Identity},
};

/// Where Linux puts the first controller.
pub const PATH: &str = "/dev/ipmi0";
/// Longest wait for an answer, milliseconds: the kernel itself gives up after some 5 s.
const ANSWER_MILLISECONDS_MAX: u16 = 15_000;

/// The device.
#[derive(Debug)]
pub struct Device {
    file: File,
    name: String,
    number: i32,
}

impl Device {
    /// Opens it.
    ///
    /// # Errors
    /// When it is not there: the machine has no controller, or `ipmi_si` and `ipmi_devintf` are not loaded.
    pub fn open(path: &Path) -> Result<Self, IpmiError> {
        let name = path.display().to_string();
        let what = "opening (are the modules ipmi_si and ipmi_devintf loaded, and are we root?)";
        let io = |source| IpmiError::Io { host: name.clone(), what, source };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
        Ok(Self { file, name, number: 0 })
    }

    /// The settings of the controller's LAN channels, lowest first.
    ///
    /// # Errors
    /// When the controller cannot be asked.  A channel that answers oddly is left out.
    pub fn lans(&mut self) -> Result<Vec<Lan>, IpmiError> {
        now(async {
            let mut found = Vec::new();
            for channel in lan::channels(self).await? {
                match lan::read(self, channel).await {
                    Ok(lan) => found.push(lan),
                    Err(IpmiError::Refused { .. } | IpmiError::Odd { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(found)
        })
    }

    /// Makes an account for a LAN channel, or sets the one of this name, and returns its slot.
    ///
    /// # Errors
    /// When no slot is free or the controller refuses a step.
    pub fn create_account(
        &mut self,
        channel: u8,
        name: &str,
        password: &Password,
        level: Level,
    ) -> Result<u8, IpmiError> {
        now(user::create(self, channel, name, password, level))
    }

    /// Which machine the controller says it is in.
    ///
    /// # Errors
    /// When the controller cannot be asked.
    pub fn identity(&mut self) -> Result<Identity, IpmiError> {
        now(surface::identity(self))
    }

    fn exchange(&mut self, request: &Request) -> Result<Answer, IpmiError> {
        self.number = self.number.wrapping_add(1);
        let io = |what| move |source| (what, source);
        let answer = ioctl::send(&self.file, request, self.number)
            .map_err(io("giving a request to"))
            .and_then(|()| {
                ioctl::receive(&self.file, self.number, ANSWER_MILLISECONDS_MAX)
                    .map_err(io("taking an answer from"))
            })
            .map_err(|(what, source)| IpmiError::Io { host: self.name.clone(), what, source })?;
        let Some(answer) = answer else {
            let (host, what) = (self.name.clone(), request.what.to_owned());
            return Err(IpmiError::NoAnswer { host, what, tries: 1, heard: String::new() });
        };
        match answer.split_first() {
            Some((code, data)) => Ok(Answer { code: *code, data: data.to_vec() }),
            None => Err(crate::command::odd(self, request, 0, "not even a completion code")),
        }
    }
}

impl Link for Device {
    fn host(&self) -> &str {
        &self.name
    }

    async fn ask(&mut self, request: &Request) -> Result<Answer, IpmiError> {
        self.exchange(request)
    }
}

/// Runs commands over the device: they block instead of waiting, so they are done at the first poll.
///
/// # Errors
/// Those of the commands.
pub fn now<T>(commands: impl Future<Output = Result<T, IpmiError>>) -> Result<T, IpmiError> {
    match pin!(commands).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => Err(IpmiError::CannotBe {
            host: PATH.to_owned(),
            why: "only commands over a local device can be run without waiting",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_device_is_said() {
        let error = Device::open(Path::new("/dev/ipmi-that-is-not-there")).unwrap_err();
        assert!(error.to_string().contains("ipmi_si"), "{error}");
        // Something that is no such device refuses the request.
        let mut device = Device::open(Path::new("/dev/null")).unwrap();
        assert!(matches!(device.lans(), Err(IpmiError::Io { what: "giving a request to", .. })));
    }
}
