//! Commands, over the LAN or from inside the machine.  Each reads its answer bounded and says what did not fit.

use std::future::Future;

use crate::{
    error::IpmiError,
    message::{Answer, Request},
};

pub mod boot;
pub mod chassis;
pub mod device;
pub mod fru;
pub mod lan;
pub mod sdr;
pub mod sel;
pub mod sensor;
mod sensor_words;
pub mod text;
pub mod user;

/// Whoever carries a request to a controller and brings the answer.
pub trait Link: Send {
    /// The controller, for errors.
    fn host(&self) -> &str;

    /// Asks.  A completion code other than zero is an answer, not an error.
    fn ask(&mut self, request: &Request) -> impl Future<Output = Result<Answer, IpmiError>> + Send;
}

/// The answer's data, if it is a success.
pub(crate) async fn data<L: Link>(link: &mut L, request: &Request) -> Result<Vec<u8>, IpmiError> {
    let answer = link.ask(request).await?;
    match answer.code {
        0 => Ok(answer.data),
        code => Err(refused(link.host(), request, code)),
    }
}

pub(crate) fn refused(host: &str, request: &Request, code: u8) -> IpmiError {
    IpmiError::Refused { host: host.to_owned(), what: request.what, code }
}

/// For answers that a reader could not read.
pub(crate) fn odd<L: Link>(link: &L, request: &Request, length: usize, why: &'static str) -> IpmiError {
    IpmiError::Odd { host: link.host().to_owned(), what: request.what, length, why }
}
