//! IPv6 in a LAN of network namespaces: leases, boot files and advertisements on real sockets and a real kernel; dnsmasq
//! as a relay and as a rival.  The client is made of dhcproto, which shares no code with the server.  Needs root, `ip` and
//! dnsmasq; fails, not skips, when one is missing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![expect(clippy::disallowed_methods, reason = "a test waits on real sockets, with a limit")]

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket},
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use appliance_model::{Mac, Now};
use dhcproto::{
    Decodable, Decoder, Encodable, Encoder,
    v6::{DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, OptionCode, UnknownOption},
};
use pxe_server::{Clock, Config, Handle, PxeServer, Serving, wire};
use socket2::{Domain, Socket, Type};

const WAIT: Duration = Duration::from_secs(60);
const MAC: Mac = Mac([2, 0, 0, 0, 6, 1]);
const DUID: [u8; 18] = [0, 4, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
const FULL: &str = "pool = { first = '10.66.0.10', last = '10.66.0.13' }\n\
    [v6]\naddress = 'fd77::1'\nprefix = 'fd77::/64'\nrouter_advertisements = true\nrelays = ['fd79::1', 'fd77::3']\n\
    pool = { first = 'fd77::1:0:0:0', last = 'fd77::ffff:ffff:ffff:ffff' }\n\
    networks = [{ prefix = 'fd79::/64', pool = { first = 'fd79::100', last = 'fd79::1ff' } }]\n";

/// Namespaces `PREFIX-lan` (the bridge), `-us`, `-other`, `-client`; each but the first has one port `eth`.
struct Lan(String);

impl Lan {
    fn new(name: &str) -> Self {
        let lan = Self(format!("sf6{name}{}", std::process::id()));
        lan.ip("netns add {}-lan");
        lan.ip("-n {}-lan link add br0 type bridge");
        lan.ip("-n {}-lan link set br0 up");
        for part in ["us", "other", "client"] {
            lan.ip(&format!("netns add {{}}-{part}"));
            lan.ip(&format!("-n {{}}-lan link add {part} type veth peer name eth netns {{}}-{part}"));
            lan.ip(&format!("-n {{}}-lan link set {part} master br0 up"));
            lan.ip(&format!("-n {{}}-{part} link set lo up"));
            if part == "client" {
                lan.ip(&format!("-n {{}}-client link set eth address {MAC}"));
            }
            lan.ip(&format!("-n {{}}-{part} link set eth up"));
        }
        lan.ip("-n {}-us addr add 10.66.0.1/24 dev eth");
        lan.ip("-n {}-us addr add fd77::1/64 dev eth nodad");
        lan.ip("-n {}-other addr add fd77::3/64 dev eth nodad");
        lan
    }

    fn ip(&self, arguments: &str) {
        let arguments = arguments.replace("{}", &self.0);
        let done = Command::new("ip").args(arguments.split(' ')).status().unwrap();
        assert!(done.success(), "ip {arguments}");
    }

    fn shown(&self, arguments: &str) -> String {
        let arguments = arguments.replace("{}", &self.0);
        let done = Command::new("ip").args(arguments.split(' ')).output().unwrap();
        String::from_utf8(done.stdout).unwrap()
    }

    /// Moves this thread.
    fn enter(&self, part: &str) {
        let space = File::open(format!("/var/run/netns/{}-{part}", self.0)).unwrap();
        nix::sched::setns(space, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// Runs `work` as the client, whose link-local address is settled.
    fn client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        until("the client's link-local address", || {
            let shown = self.shown("-n {}-client -6 addr show dev eth scope link");
            shown.contains("fe80") && !shown.contains("tentative")
        });
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter("client");
                work()
            });
            thread.join().unwrap()
        })
    }

    fn dnsmasq(&self, words: &[&str]) -> Dnsmasq {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-other", self.0), "dnsmasq", "-k", "-C", "/dev/null"]);
        command.args(["--port=0", "--user=root", "--leasefile-ro"]).args(words);
        Dnsmasq(command.spawn().unwrap())
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for part in ["us", "other", "client", "lan"] {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}-{part}", self.0)]).status();
        }
    }
}

struct Dnsmasq(Child);

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < WAIT, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Starts the server in its namespace and runs `test` while it answers.
fn serve(lan: &Lan, dir: &Path, text: &str, test: impl FnOnce(&Handle) + Send) {
    std::thread::scope(|scope| {
        scope.spawn(move || {
            lan.enter("us");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let path = dir.join("discovery.efi");
                std::fs::write(&path, b"MZ and so on").unwrap();
                let text =
                    format!("interface = 'eth'\naddress = '10.66.0.1'\nsubnet = '10.66.0.0/24'\n{text}");
                let config: Config = toml::from_str::<wire::Config>(&text).unwrap().try_into().unwrap();
                let started = Instant::now();
                let millis = move || u64::try_from(started.elapsed().as_millis()).unwrap();
                let clock = Clock::new(move || Now(1_000_000 + millis()));
                let config = config.with_image(&path);
                let (handle, server) = PxeServer::start(config, &dir.join("pxe"), clock).await.unwrap();
                let (done, tested) = tokio::sync::oneshot::channel();
                let testing = scope.spawn(move || {
                    test(&handle);
                    let _ = done.send(());
                });
                tokio::select! {
                    ended = server.run() => panic!("the server ended: {ended:?}"),
                    // An error means that the test panicked; joining it says so.
                    _ = tested => {}
                }
                testing.join().unwrap();
            });
        });
    });
}

fn message(kind: MessageType, class: &str, server: Option<Vec<u8>>, address: Option<Ipv6Addr>) -> Message {
    let mut message = Message::new_with_id(kind, [kind.into(), 5, 6]);
    let options = message.opts_mut();
    options.insert(DhcpOption::ClientId(DUID.to_vec()));
    options.insert(DhcpOption::ElapsedTime(0));
    server.into_iter().for_each(|server| options.insert(DhcpOption::ServerId(server)));
    let mut inner = DhcpOptions::new();
    if let Some(addr) = address {
        let (preferred_life, valid_life) = (0, 0);
        inner.insert(DhcpOption::IAAddr(IAAddr {
            addr,
            preferred_life,
            valid_life,
            opts: DhcpOptions::new(),
        }));
    }
    options.insert(DhcpOption::IANA(IANA { id: 7, t1: 0, t2: 0, opts: inner }));
    if !class.is_empty() {
        let length = u16::try_from(class.len()).unwrap().to_be_bytes();
        let value = [&[0, 0, 1, 87][..], &length, class.as_bytes()].concat();
        options.insert(DhcpOption::Unknown(UnknownOption::new(OptionCode::Unknown(16), value)));
    }
    message
}

/// Multicasts until the answer comes.
fn ask(message: &Message) -> Option<Message> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind_device(Some(b"eth")).unwrap();
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 546)).into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let socket: UdpSocket = socket.into();
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    // The socket is bound to the interface: no number is needed.
    let group = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2), 547, 0, 0);
    let mut buffer = [0; 1500];
    for _ in 0..5 {
        socket.send_to(&bytes, group).unwrap();
        while let Ok((length, _)) = socket.recv_from(&mut buffer) {
            let answer = Message::decode(&mut Decoder::new(&buffer[..length])).unwrap();
            if answer.xid() == message.xid() {
                return Some(answer);
            }
        }
    }
    None
}

fn address(message: &Message) -> Ipv6Addr {
    let Some(DhcpOption::IANA(ia)) = message.opts().get(OptionCode::IANA) else {
        panic!("no IA_NA: {message:?}")
    };
    let Some(DhcpOption::IAAddr(given)) = ia.opts.get(OptionCode::IAAddr) else {
        panic!("no address: {ia:?}")
    };
    given.addr
}

fn server(message: &Message) -> Vec<u8> {
    let Some(DhcpOption::ServerId(server)) = message.opts().get(OptionCode::ServerId) else {
        panic!("{message:?}")
    };
    server.clone()
}

fn url(message: &Message) -> String {
    let Some(DhcpOption::Unknown(option)) = message.opts().get(OptionCode::from(59)) else {
        panic!("{message:?}")
    };
    String::from_utf8(option.data().to_vec()).unwrap()
}

const HTTP: &str = "HTTPClient:Arch:00016:UNDI:003001";

#[test]
fn a_machine_gets_prefix_address_and_image_and_keeps_them_over_a_restart() {
    let lan = Lan::new("a");
    let dir = tempfile::tempdir().unwrap();
    let mut kept = None;
    serve(&lan, dir.path(), FULL, |handle| {
        let offer = lan.client(|| ask(&message(MessageType::Solicit, HTTP, None, None)).unwrap());
        assert_eq!(offer.opts().get(OptionCode::Preference), Some(&DhcpOption::Preference(255)));
        let take = message(MessageType::Request, HTTP, Some(server(&offer)), Some(address(&offer)));
        let reply = lan.client(|| ask(&take).unwrap());
        assert_eq!((reply.msg_type(), address(&reply)), (MessageType::Reply, address(&offer)));
        let leases = handle.leases6();
        assert_eq!((leases.len(), leases[0].mac, leases[0].bound), (1, MAC, true));
        // The kernel believed our advertisement: a way to the prefix, and no address of its own making.
        until("the kernel knows the prefix", || {
            lan.shown("-n {}-client -6 route show dev eth").contains("fd77::/64 proto kernel")
                || lan.shown("-n {}-client -6 route show dev eth").contains("fd77::/64 proto ra")
        });
        assert!(!lan.shown("-n {}-client -6 addr show dev eth").contains("fd77::"));
        assert!(!lan.shown("-n {}-client -6 route show default").contains("fe80"));
        let given = address(&reply);
        lan.ip(&format!("-n {{}}-client addr add {given}/128 dev eth nodad"));
        let url = url(&reply);
        let path = url.strip_prefix("http://[fd77::1]:8080").unwrap().to_owned();
        let got = lan.client(|| {
            let mut stream = TcpStream::connect("[fd77::1]:8080").unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: [fd77::1]:8080\r\nConnection: close\r\n\r\n")
                .unwrap();
            let mut got = String::new();
            stream.read_to_string(&mut got).unwrap();
            got
        });
        assert!(got.starts_with("HTTP/1.1 200") && got.ends_with("MZ and so on"), "{got}");
        let story = format!("{:?}", handle.story(MAC).unwrap());
        for words in ["DHCPv6 SOLICIT", "by HTTP over IPv6", "loaded"] {
            assert!(story.contains(words), "{words}: {story}");
        }
        kept = Some((given, server(&reply)));
    });
    let (given, identity) = kept.unwrap();
    serve(&lan, dir.path(), FULL, |handle| {
        assert_eq!(handle.leases6().first().map(|lease| lease.address), Some(given));
        let renew = message(MessageType::Renew, "", Some(identity.clone()), Some(given));
        let reply = lan.client(|| ask(&renew).unwrap());
        assert_eq!((address(&reply), server(&reply)), (given, identity));
    });
}

#[test]
fn through_a_relay() {
    let lan = Lan::new("b");
    // The client moves behind the relay.
    lan.ip("-n {}-lan link del client");
    lan.ip("-n {}-other link add far type veth peer name eth netns {}-client");
    lan.ip(&format!("-n {{}}-client link set eth address {MAC}"));
    lan.ip("-n {}-client link set eth up");
    lan.ip("-n {}-other addr add fd79::1/64 dev far nodad");
    lan.ip("-n {}-other link set far up");
    lan.ip("-n {}-us route add fd79::/64 via fd77::3");
    let _relay = lan.dnsmasq(&[
        "--interface=far",
        "--interface=eth",
        "--log-dhcp",
        "--log-facility=-",
        "--dhcp-relay=fd79::1,fd77::1",
    ]);
    let dir = tempfile::tempdir().unwrap();
    serve(&lan, dir.path(), FULL, |handle| {
        let offer = lan.client(|| ask(&message(MessageType::Solicit, HTTP, None, None)));
        let offer = offer.unwrap_or_else(|| panic!("no answer; {:?}", handle.counters()));
        let take = message(MessageType::Request, HTTP, Some(server(&offer)), Some(address(&offer)));
        let reply = lan.client(|| ask(&take).unwrap());
        assert!(address(&reply).to_string().starts_with("fd79::1"), "{reply:?}");
        assert!(url(&reply).starts_with("http://[fd77::1]:8080/boot/"));
        assert_eq!(handle.leases6()[0].mac, MAC);
    });
}

#[test]
fn listening_tells_of_other_servers_and_routers_and_answers_nobody() {
    let lan = Lan::new("c");
    let _rival = lan.dnsmasq(&[
        "--interface=eth",
        "--log-dhcp",
        "--log-facility=-",
        "--enable-ra",
        "--dhcp-range=fd77::200,fd77::220,64,1h",
    ]);
    let dir = tempfile::tempdir().unwrap();
    let text =
        "mode = 'listen'\n[v6]\naddress = 'fd77::1'\nprefix = 'fd77::/64'\nrouter_advertisements = true\n";
    serve(&lan, dir.path(), text, |handle| {
        until("server and router are heard", || {
            let survey = handle.v6().unwrap().survey;
            survey.rivals.iter().any(|rival| rival.leases && rival.address.is_some())
                && !survey.routers.is_empty()
        });
        let view = handle.v6().unwrap();
        assert_eq!(view.serving, Serving::Nothing);
        for words in ["gives addresses", "tells machines to ask DHCPv6"] {
            assert!(view.survey.why.contains(words), "{}", view.survey.why);
        }
        let offer = lan.client(|| ask(&message(MessageType::Solicit, HTTP, None, None)).unwrap());
        assert!(address(&offer).to_string().starts_with("fd77::2"), "the rival's: {offer:?}");
        assert_eq!((handle.counters().replies, handle.leases6().len()), (0, 0));
    });
}
