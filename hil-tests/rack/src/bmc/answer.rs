//! One HTTP answer in Redfish's form.

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

/// What is sent as a body.
#[derive(Debug)]
pub(crate) enum Content {
    None,
    Json(Value),
    /// JSON that was made before.
    Ready(Bytes),
    /// XML of the metadata document.
    Xml(String),
    /// Something that goes on, such as server-sent events, with its media type.
    Stream(Body, &'static str),
}

/// An answer before it becomes bytes.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: Vec<(HeaderName, String)>,
    pub(crate) body: Content,
}

impl Answer {
    fn new(status: StatusCode, body: Content) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    pub(crate) fn ok(body: Value) -> Self {
        Self::new(StatusCode::OK, Content::Json(body))
    }

    pub(crate) fn ready(body: Bytes) -> Self {
        Self::new(StatusCode::OK, Content::Ready(body))
    }

    pub(crate) fn xml(text: String) -> Self {
        Self::new(StatusCode::OK, Content::Xml(text))
    }

    pub(crate) fn stream(body: Body, media_type: &'static str) -> Self {
        Self::new(StatusCode::OK, Content::Stream(body, media_type))
    }

    pub(crate) fn done() -> Self {
        Self::new(StatusCode::NO_CONTENT, Content::None)
    }

    pub(crate) fn status(status: StatusCode, body: Option<Value>) -> Self {
        Self::new(status, body.map_or(Content::None, Content::Json))
    }

    /// A thing was made at `path`.
    pub(crate) fn created(path: &str, body: Value) -> Self {
        Self::new(StatusCode::CREATED, Content::Json(body)).with(header::LOCATION, path)
    }

    /// An error with one message of the Base registry.
    pub(crate) fn error(status: StatusCode, message: &str, text: impl Into<String>) -> Self {
        let text = text.into();
        let id = format!("Base.1.18.{message}");
        let body = json!({ "error": {
            "code": id,
            "message": text,
            "@Message.ExtendedInfo": [extended(&id, &text)],
        }});
        Self::new(status, Content::Json(body))
    }

    pub(crate) fn missing(path: &str) -> Self {
        let text = format!("The resource at the URI {path} was not found.");
        Self::error(StatusCode::NOT_FOUND, "ResourceMissingAtURI", text)
    }

    pub(crate) fn not_allowed(allow: &str) -> Self {
        Self::error(
            StatusCode::METHOD_NOT_ALLOWED,
            "OperationNotAllowed",
            "The HTTP method is not allowed on this resource.",
        )
        .with(header::ALLOW, allow)
    }

    pub(crate) fn bad(message: &str, text: impl Into<String>) -> Self {
        Self::error(StatusCode::BAD_REQUEST, message, text)
    }

    pub(crate) fn conflict(message: &str, text: impl Into<String>) -> Self {
        Self::error(StatusCode::CONFLICT, message, text)
    }

    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", text)
    }

    /// The parameter or property is missing.
    pub(crate) fn lacks(name: &str) -> Self {
        Self::bad("PropertyMissing", format!("The property {name} is required."))
    }

    /// The value is not one of those allowed.
    pub(crate) fn not_in_list(name: &str, value: &Value) -> Self {
        let text = format!("The value {value} for the property {name} is not in the list of values.");
        Self::bad("PropertyValueNotInList", text)
    }

    pub(crate) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same answer with another body.
    pub(crate) fn with_body(self, body: Content) -> Self {
        Self { body, ..self }
    }

    /// The body's bytes, for those that are whole.
    pub(crate) fn text(&self) -> Option<Bytes> {
        match &self.body {
            Content::Json(value) => Some(Bytes::from(value.to_string())),
            Content::Ready(bytes) => Some(bytes.clone()),
            Content::Xml(text) => Some(Bytes::from(text.clone())),
            Content::None | Content::Stream(..) => None,
        }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let whole = self.text();
        let (body, media_type) = match self.body {
            Content::None => (Body::empty(), None),
            Content::Json(_) | Content::Ready(_) => {
                (Body::from(whole.unwrap_or_default()), Some("application/json; charset=utf-8"))
            }
            Content::Xml(text) => (Body::from(text), Some("application/xml; charset=utf-8")),
            Content::Stream(body, media_type) => (body, Some(media_type)),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert("odata-version", HeaderValue::from_static("4.0"));
        if let Some(media_type) = media_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// One message as `@Message.ExtendedInfo` holds it.
pub(crate) fn extended(id: &str, text: &str) -> Value {
    json!({
        "@odata.type": "#Message.v1_2_1.Message",
        "MessageId": id,
        "Message": text,
        "MessageArgs": [],
        "MessageSeverity": "Critical",
        "Resolution": "Correct the request and send it again.",
    })
}
