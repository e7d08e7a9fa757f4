//! Why no whole answer came.

use std::io;

/// Why no whole answer came.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// No connection; the request was not sent.
    #[error("no connection to {at}")]
    Connect {
        /// Where to.
        at: String,
        /// What the system or the handshake says.
        #[source]
        source: io::Error,
    },
    /// No connection in time; the request was not sent.
    #[error("no connection to {at} within {seconds} s")]
    ConnectTime {
        /// Where to.
        at: String,
        /// How long was waited.
        seconds: u64,
    },
    /// No whole answer in time.
    #[error("nothing whole came within {seconds} s")]
    Time {
        /// How long was waited.
        seconds: u64,
    },
    /// The connection ended before the answer did.
    #[error("the connection broke off")]
    Broken(#[source] io::Error),
    /// The answer is not HTTP.
    #[error("the answer is not HTTP: {0}")]
    NotHttp(&'static str),
    /// A value that no header can hold.
    #[error("{0} holds a character that no header can hold")]
    Unsayable(&'static str),
    /// What a long request or a stream met.
    #[error(transparent)]
    Stream(reqwest::Error),
}

impl Lost {
    /// Whether there was no connection, so that nothing was sent.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::ConnectTime { .. } | Self::Unsayable(_) => true,
            Self::Time { .. } | Self::Broken(_) | Self::NotHttp(_) => false,
            Self::Stream(error) => error.is_connect(),
        }
    }

    /// Whether it was waited for in vain.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::ConnectTime { .. } | Self::Time { .. } => true,
            Self::Connect { .. } | Self::Broken(_) | Self::NotHttp(_) | Self::Unsayable(_) => false,
            Self::Stream(error) => error.is_timeout(),
        }
    }
}

impl From<reqwest::Error> for Lost {
    /// Without the URL, which stands beside it.
    fn from(error: reqwest::Error) -> Self {
        Self::Stream(error.without_url())
    }
}
