//! Logging in: one session, made once, renewed when the controller revokes it, and never a password tried twice.

use std::sync::atomic::Ordering;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    client::{Inner, ROOT},
    error::BmcError,
    exchange::{Call, said},
    field,
    link::local,
    lost::Lost,
};

/// How we are logged in.
pub(crate) enum Login {
    Not,
    Session {
        token: String,
        location: Option<String>,
        /// The account, when its password must be changed before anything else.
        stale: Option<String>,
    },
    /// It has no sessions.
    Basic,
    /// It refused the password: not tried again, since controllers lock accounts after a few attempts.
    Refused,
}

impl std::fmt::Debug for Login {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Not => "Not",
            Self::Session { .. } => "Session(..)",
            Self::Basic => "Basic",
            Self::Refused => "Refused",
        })
    }
}

/// What a request is sent with.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Key {
    None,
    Token(String),
    Basic,
}

/// New sessions that did not help, until we stop making them: a controller that revokes each token at once would
/// otherwise be filled with sessions by one walk.
const VAIN_LOGINS_MAX: u32 = 3;

impl Inner {
    /// Logs in if that has not happened, so that a wrong password is told as such and not as missing resources.
    pub(crate) async fn enter(&self) -> Result<(), BmcError> {
        self.key(None).await.map(|_| ())
    }

    /// The key to send with.  `stale` is one that was just refused: it is replaced, unless another request has done
    /// so meanwhile.
    pub(crate) async fn key(&self, stale: Option<&Key>) -> Result<Key, BmcError> {
        let refused = || BmcError::Login { url: self.base.to_string(), user: self.user.clone() };
        let mut login = self.login.lock().await;
        let present = match &*login {
            Login::Refused => return Err(refused()),
            Login::Not => None,
            Login::Session { token, .. } => Some(Key::Token(token.clone())),
            Login::Basic => Some(Key::Basic),
        };
        if let Some(present) = present.filter(|present| Some(present) != stale) {
            return Ok(present);
        }
        if stale == Some(&Key::Basic) {
            *login = Login::Refused;
            return Err(refused());
        }
        if stale.is_some() && self.vain_logins.load(Ordering::Relaxed) >= VAIN_LOGINS_MAX {
            return Err(BmcError::Revoked { url: self.base.to_string(), times: VAIN_LOGINS_MAX });
        }
        // What is behind the old token cannot be ended with it; it expires.
        *login = self.log_in().await?;
        match &*login {
            Login::Session { token, .. } => Ok(Key::Token(token.clone())),
            Login::Refused => Err(refused()),
            Login::Not | Login::Basic => Ok(Key::Basic),
        }
    }

    async fn log_in(&self) -> Result<Login, BmcError> {
        let path = self.sessions().await;
        let body = json!({ "UserName": self.user, "Password": self.password.reveal() });
        let call = Call { body: Some(&body), ..Call::new("POST", &path) };
        let answer = match self.exchange(&call, &Key::None).await {
            // It drops connections that are kept, and now we know it; nobody was told whether the password is right.
            Err(BmcError::NoAnswer { source: Lost::Broken(_), .. }) => {
                self.exchange(&call, &Key::None).await?
            }
            other => other?,
        };
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let location = answer.location.as_ref().and_then(|link| local(&self.base, link));
        if status.is_success()
            && let Some(token) = answer.token
        {
            let named = || local(&self.base, answer.body.get("@odata.id")?.as_str()?);
            return Ok(Login::Session {
                token,
                location: location.or_else(named),
                stale: self.stale_account(&answer.body),
            });
        }
        let words = || said(&answer.body);
        match status {
            // DSP0266, 13.3.7: the password is right and must be changed before anything else.
            StatusCode::FORBIDDEN if words().contains("PasswordChangeRequired") => {
                let account = self.stale_account(&answer.body);
                Err(BmcError::PasswordChange { url: self.base.to_string(), user: self.user.clone(), account })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => Ok(Login::Refused),
            // No session service, or one that gives no token: the standard's other way.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                Ok(Login::Basic)
            }
            other if other.is_success() => Ok(Login::Basic),
            other => Err(BmcError::Refused {
                method: "POST",
                url: self.url(&path),
                status: other.as_u16(),
                said: words(),
            }),
        }
    }

    /// The account whose password an answer says must be changed first: the argument of that message.
    fn stale_account(&self, body: &Value) -> Option<String> {
        let places = [&["@Message.ExtendedInfo"][..], &["error", "@Message.ExtendedInfo"]];
        let messages = places.iter().filter_map(|path| field::at(body, path)?.as_array()).flatten();
        let about = |message: &&Value| {
            field::text(message, &["MessageId"]).is_some_and(|id| id.ends_with("PasswordChangeRequired"))
        };
        let message = messages.take(16).find(about)?;
        field::texts(message, &["MessageArgs"]).iter().find_map(|argument| local(&self.base, argument))
    }

    /// The account we are logged in with, where its password must be changed first.
    pub(crate) async fn stale(&self) -> Option<String> {
        match &*self.login.lock().await {
            Login::Session { stale, .. } => stale.clone(),
            Login::Not | Login::Basic | Login::Refused => None,
        }
    }

    /// Whether the controller gave us a session for our password.
    pub(crate) async fn has_session(&self) -> bool {
        matches!(&*self.login.lock().await, Login::Session { .. })
    }

    /// Where sessions are made: as the root says, else where the standard says.
    async fn sessions(&self) -> String {
        let standard = "/redfish/v1/SessionService/Sessions".to_owned();
        // Whoever logs in has mostly read the root just now.
        let kept = self.bodies().body(ROOT);
        let root = match kept {
            Some(root) => root,
            None => match self.send(&Call::new("GET", ROOT), &Key::None).await {
                Ok(answer) => answer.body,
                Err(_) => return standard,
            },
        };
        let told = field::link(&root, &["Links", "Sessions"]);
        told.and_then(|link| local(&self.base, link)).unwrap_or(standard)
    }

    /// Ends the session.
    pub(crate) async fn leave(&self) {
        let was = std::mem::replace(&mut *self.login.lock().await, Login::Not);
        if let Login::Session { token, location: Some(path), .. } = was {
            let ended = self.send(&Call::new("DELETE", &path), &Key::Token(token)).await;
            if let Err(error) = ended {
                tracing::debug!(bmc = %self.base, error = %error, "session not ended; it will expire");
            }
        }
    }
}
