//! A server with three things to hand out, and a client that says exactly what it is told to say.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use pxe_http::{Content, Event, Gate, Grant, Limits, Refusal, Server, What};
use socket2::{Domain, Socket, Type};

/// Nothing here takes as long on a healthy machine, however busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `/image` from a file, `/script` from memory, `/later` not yet, `/secret` not for them.
pub(crate) struct World {
    pub(crate) at: SocketAddr,
    pub(crate) image: Vec<u8>,
    pub(crate) folder: tempfile::TempDir,
    desk: Arc<Desk>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Desk {
    image: Arc<Content>,
    script: Arc<Content>,
    heard: Mutex<Vec<Event>>,
    more: Condvar,
}

impl Gate for Desk {
    fn resolve(&self, path: &str, _: IpAddr) -> Result<Grant, Refusal> {
        let content = match path {
            "/image" => &self.image,
            "/script" => &self.script,
            "/later" => return Err(Refusal::Busy { retry_seconds: 7 }),
            "/secret" => return Err(Refusal::Forbidden),
            _ => return Err(Refusal::Missing),
        };
        Ok(Grant { content: Arc::clone(content), tag: 42, content_type: "application/efi" })
    }

    fn tell(&self, event: Event) {
        self.heard.lock().unwrap().push(event);
        self.more.notify_all();
    }
}

/// Limits with short times, so that tests wait for little.
pub(crate) fn limits() -> Limits {
    Limits { threads: 2, small_bytes_max: 4096, ..Limits::default() }
}

impl World {
    pub(crate) fn new(limits: Limits) -> Self {
        Self::with(limits, 3_000_017, |_| {})
    }

    pub(crate) fn with(limits: Limits, bytes: usize, more: impl FnOnce(&mut Server)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Every byte depends on its place, so that a shifted answer is not the same.
        let image: Vec<u8> =
            (0..bytes).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
        let file = folder.path().join("image");
        std::fs::write(&file, &image).unwrap();
        let desk = Arc::new(Desk {
            image: Arc::new(Content::file(&file).unwrap()),
            script: Arc::new(Content::bytes("#!ipxe\n".into())),
            heard: Mutex::default(),
            more: Condvar::new(),
        });
        let mut server = Server::bind((Ipv4Addr::LOCALHOST, 0).into(), limits).unwrap();
        more(&mut server);
        let at = server.local_addr();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(server.run(Arc::clone(&desk) as Arc<dyn Gate>));
        Self { at, image, folder, desk, runtime: Some(runtime) }
    }

    pub(crate) fn heard(&self) -> Vec<What> {
        self.told().iter().map(|event| event.what).collect()
    }

    pub(crate) fn told(&self) -> Vec<Event> {
        self.desk.heard.lock().unwrap().clone()
    }

    /// Runs it on the runtime of the server's caller, which has one thread.
    pub(crate) fn beside<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(runtime.spawn(work)).unwrap()
    }

    /// Waits until something like this was told.
    pub(crate) fn wait(&self, like: impl Fn(&Event) -> bool) {
        let heard = self.desk.heard.lock().unwrap();
        let waiting = |heard: &mut Vec<Event>| !heard.iter().any(&like);
        let (heard, time) = self.desk.more.wait_timeout_while(heard, PATIENCE, waiting).unwrap();
        assert!(!time.timed_out(), "never told; heard {heard:?}");
    }

    pub(crate) fn client(&self) -> Client {
        self.client_from(1)
    }

    /// A client at 127.0.0.`last`.
    pub(crate) fn client_from(&self, last: u8) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
        // Small, so that a client that does not read stops the server soon.
        socket.set_recv_buffer_size(64 << 10).unwrap();
        socket.connect(&self.at.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream }
    }

    /// One request on a connection of its own, to the end of the connection.
    pub(crate) fn say(&self, request: &str) -> String {
        let mut client = self.client();
        client.say(request);
        String::from_utf8_lossy(&client.rest()).into_owned()
    }

    pub(crate) fn digest_tag(&self) -> String {
        format!("\"{}\"", self.desk.image.digest().iter().map(|b| format!("{b:02x}")).collect::<String>())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    pub(crate) fn say(&mut self, request: &str) {
        // The server may have ended it already, which is then what the test reads.
        let _ = self.stream.write_all(request.as_bytes());
    }

    pub(crate) fn get(&mut self, path: &str) {
        self.say(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    }

    /// Up to the empty line.
    pub(crate) fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match self.stream.read(&mut byte) {
                Ok(1) => head.extend(byte),
                other => panic!("{other:?} after {}", String::from_utf8_lossy(&head)),
            }
        }
        String::from_utf8(head).unwrap()
    }

    pub(crate) fn body(&mut self, bytes: usize) -> Vec<u8> {
        let mut body = vec![0; bytes];
        self.stream.read_exact(&mut body).unwrap();
        body
    }

    /// To the end of the connection, however it ends.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let mut part = [0; 65536];
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => return rest,
                Ok(count) => rest.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    panic!("the server keeps the connection")
                }
                Err(_) => return rest,
            }
        }
    }

    /// What has come so far and is not read yet.
    pub(crate) fn lies_ready(&self) -> usize {
        let mut part = [0; 65536];
        thread::sleep(Duration::from_millis(1));
        self.stream.set_nonblocking(true).unwrap();
        let count = self.stream.peek(&mut part).unwrap_or(0);
        self.stream.set_nonblocking(false).unwrap();
        count
    }
}
