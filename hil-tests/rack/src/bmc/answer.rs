//! What the BMC answers with: a status, a few headers, a JSON body; errors in Redfish's own shape.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

/// One HTTP answer before it is bytes.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Option<Value>,
}

impl Answer {
    pub(crate) fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), body: Some(body) }
    }

    pub(crate) fn done() -> Self {
        Self { status: StatusCode::NO_CONTENT, headers: Vec::new(), body: None }
    }

    /// An error with one message of the Base registry.
    pub(crate) fn error(status: StatusCode, message: &str, text: impl Into<String>) -> Self {
        let text = text.into();
        let id = format!("Base.1.18.{message}");
        let body = json!({ "error": {
            "code": id,
            "message": text,
            "@Message.ExtendedInfo": [{
                "@odata.type": "#Message.v1_2_1.Message",
                "MessageId": id,
                "Message": text,
                "MessageSeverity": "Critical",
                "Resolution": "Correct the request and send it again.",
            }],
        }});
        Self { status, headers: Vec::new(), body: Some(body) }
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

    pub(crate) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let text = self.body.map(|body| body.to_string());
        let mut response = Response::new(text.map_or_else(Body::empty, Body::from));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert("odata-version", HeaderValue::from_static("4.0"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}
