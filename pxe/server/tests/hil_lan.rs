//! A LAN of network namespaces: the server on one port of a bridge, a client and a dnsmasq on others.  Needs root, `ip`
//! and dnsmasq; fails, not skips, when one is missing.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop, and waits by the clock"
)]

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use appliance_model::Now;
use dhcproto::{
    Decodable, Decoder, Encodable, Encoder,
    v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode},
};
use pxe_server::{Clock, Config, Evidence, Handle, Mode, PxeServer, Serving, wire};
use socket2::{Domain, Socket, Type};

const US: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);
const RIVAL: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 3);
const WAIT: Duration = Duration::from_secs(60);

/// Namespaces `PREFIX-lan` (the bridge), `-us`, `-rival`, `-client`; each but the first has one port `eth`.
struct Lan(String);

impl Lan {
    fn new(name: &str) -> Self {
        let lan = Self(format!("sf{name}{}", std::process::id()));
        lan.ip("netns add {}-lan");
        lan.ip("-n {}-lan link add br0 type bridge");
        lan.ip("-n {}-lan link set br0 up");
        for (part, address) in [("us", "10.66.0.1/24"), ("rival", "10.66.0.3/24"), ("client", "")] {
            lan.ip(&format!("netns add {{}}-{part}"));
            lan.ip(&format!("-n {{}}-lan link add {part} type veth peer name eth netns {{}}-{part}"));
            lan.ip(&format!("-n {{}}-lan link set {part} master br0 up"));
            lan.ip(&format!("-n {{}}-{part} link set lo up"));
            if !address.is_empty() {
                lan.ip(&format!("-n {{}}-{part} addr add {address} dev eth"));
            }
            lan.ip(&format!("-n {{}}-{part} link set eth up"));
        }
        lan
    }

    fn ip(&self, arguments: &str) {
        let arguments = arguments.replace("{}", &self.0);
        let done = Command::new("ip").args(arguments.split(' ')).status().unwrap();
        assert!(done.success(), "ip {arguments}");
    }

    /// Moves this thread.
    fn enter(&self, part: &str) {
        let space = File::open(format!("/var/run/netns/{}-{part}", self.0)).unwrap();
        nix::sched::setns(space, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// Runs `work` as the client.
    fn client<T: Send>(&self, work: impl FnOnce(&UdpSocket) -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter("client");
                work(&socket(68))
            });
            thread.join().unwrap()
        })
    }

    fn rival(&self) -> Rival {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-rival", self.0), "dnsmasq", "-k", "-C", "/dev/null"]);
        command.args(["--port=0", "--user=root", "--interface=eth", "--bind-interfaces", "--no-ping"]);
        command.args(["--dhcp-authoritative", "--dhcp-range=10.66.0.200,10.66.0.220,1h", "--leasefile-ro"]);
        Rival(command.spawn().unwrap())
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for part in ["us", "rival", "client", "lan"] {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}-{part}", self.0)]).status();
        }
    }
}

struct Rival(Child);

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn socket(port: u16) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.bind_device(Some(b"eth")).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket.into()
}

fn message(kind: MessageType, mac: u8, class: &str, broadcast: bool) -> Message {
    let unset = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(u32::from(mac), unset, unset, unset, unset, &[2, 0, 0, 0, 7, mac]);
    message.set_opcode(Opcode::BootRequest);
    if broadcast {
        message.set_flags(Flags::default().set_broadcast());
    }
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    message.opts_mut().insert(DhcpOption::ClassIdentifier(class.as_bytes().to_vec()));
    message
}

/// Sends until the wanted answer comes.
fn ask(socket: &UdpSocket, to: SocketAddrV4, message: &Message, from: Ipv4Addr) -> Message {
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    let start = Instant::now();
    let mut buffer = [0; 1500];
    while start.elapsed() < WAIT {
        socket.send_to(&bytes, to).unwrap();
        while let Ok((length, source)) = socket.recv_from(&mut buffer) {
            let answer = Message::decode(&mut Decoder::new(&buffer[..length])).unwrap();
            if source.ip() == from && answer.xid() == message.xid() {
                return answer;
            }
        }
    }
    panic!("no answer from {from}");
}

fn everybody() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::BROADCAST, 67)
}

/// Starts the server in its namespace and runs `test` while it answers.
fn serve(lan: &Lan, dir: &Path, text: &str, test: impl FnOnce(&Handle) + Send) {
    std::thread::scope(|scope| {
        scope.spawn(move || {
            lan.enter("us");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let path = dir.join("discovery.efi");
                std::fs::write(&path, b"MZ").unwrap();
                let text =
                    format!("interface = 'eth'\naddress = '10.66.0.1'\nsubnet = '10.66.0.0/24'\n{text}");
                let config: Config = toml::from_str::<wire::Config>(&text).unwrap().try_into().unwrap();
                let started = Instant::now();
                let clock =
                    Clock::new(
                        move || Now(1_000_000 + u64::try_from(started.elapsed().as_millis()).unwrap()),
                    );
                let config = config.with_image(&path);
                let (handle, server) = PxeServer::start(config, &dir.join("pxe"), clock).await.unwrap();
                let (done, tested) = tokio::sync::oneshot::channel();
                let running = handle.clone();
                let testing = scope.spawn(move || {
                    test(&running);
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

/// Puts a whole frame on the wire.
#[expect(unsafe_code, reason = "there is no safe type for a packet socket's address")]
fn put(frame: &[u8]) {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None).unwrap();
    let fill = |storage: *mut socket2::SockAddrStorage, length: *mut libc::socklen_t| {
        // SAFETY: the storage is zeroed and larger than a packet address; the name ends with a zero.
        unsafe {
            let name = storage.cast::<libc::sockaddr_ll>();
            (*name).sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).unwrap();
            (*name).sll_ifindex = i32::try_from(libc::if_nametoindex(c"eth".as_ptr())).unwrap();
            *length = libc::socklen_t::try_from(std::mem::size_of::<libc::sockaddr_ll>()).unwrap();
        }
        Ok(())
    };
    // SAFETY: `fill` wrote a whole address and its length.
    let ((), name) = unsafe { socket2::SockAddr::try_init(fill) }.unwrap();
    assert_eq!(socket.send_to(frame, &name).unwrap(), frame.len());
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < WAIT, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_address_in_use_is_not_given_and_unicasts_reach_a_client_without_one() {
    let lan = Lan::new("a");
    // Somebody has an address of the pool, and the client will be able to hear a unicast to its reserved one.
    lan.ip("-n {}-rival addr add 10.66.0.10/24 dev eth");
    lan.ip("-n {}-client link set eth address 02:00:00:00:07:50");
    lan.ip("-n {}-client addr add 10.66.0.50/32 dev eth");
    let dir = tempfile::tempdir().unwrap();
    let text = "pool = { first = '10.66.0.10', last = '10.66.0.13' }\n\
                reservations = { '02:00:00:00:07:50' = '10.66.0.50' }";
    serve(&lan, dir.path(), text, |handle| {
        until("the conflict is found", || handle.counters().conflicts == 1);
        for mac in [1, 2] {
            let discover = message(MessageType::Discover, mac, "MSFT 5.0", true);
            let offer = lan.client(|socket| ask(socket, everybody(), &discover, US));
            assert_ne!(offer.yiaddr(), Ipv4Addr::new(10, 66, 0, 10));
        }
        let mut discover = message(MessageType::Discover, 0x50, "MSFT 5.0", false);
        discover.set_xid(0x50);
        let offer = lan.client(|socket| ask(socket, everybody(), &discover, US));
        assert_eq!(offer.yiaddr(), Ipv4Addr::new(10, 66, 0, 50));
        assert_eq!(handle.counters().unsent, 0);
        let survey = handle.interfaces().remove(0).survey;
        assert!(survey.rivals.is_empty() && survey.requests >= 3, "{survey:?}");
    });
}

#[test]
fn beside_a_dnsmasq_auto_proxy_says_what_to_boot_and_answers_port_4011() {
    let lan = Lan::new("b");
    let dir = tempfile::tempdir().unwrap();
    let text = "mode = 'auto-proxy'\nuefi_pxe = 'uki'\npool = { first = '10.66.0.10', last = '10.66.0.13' }";
    serve(&lan, dir.path(), text, |handle| {
        let serving = || handle.interfaces()[0].serving;
        until("nobody was heard", || serving() == Serving::All);
        // A packet that says a server is there, while none is; and the same when one is.
        let mut forged = message(MessageType::Request, 9, "MSFT 5.0", true);
        forged.opts_mut().insert(DhcpOption::ServerIdentifier(RIVAL));
        let mut bytes = Vec::new();
        forged.encode(&mut Encoder::new(&mut bytes)).unwrap();
        let forge = || lan.client(|socket| assert!(socket.send_to(&bytes, everybody()).unwrap() > 0));
        let heard = || handle.interfaces()[0].survey.rivals.first().map(|rival| rival.evidence);
        until("the named server is noticed and asked for", || {
            forge();
            heard() == Some(Evidence::Named) && handle.interfaces()[0].survey.probes > 3
        });
        assert_eq!(serving(), Serving::All);
        let rival = lan.rival();
        until("the rival is heard, since it was named", || {
            forge();
            heard() == Some(Evidence::Answered)
        });
        let view = handle.interfaces().remove(0);
        assert_eq!(
            (view.mode, view.serving, view.survey.proposal),
            (Mode::AutoProxy, Serving::Boot, Mode::Proxy)
        );
        assert!(view.why.contains("10.66.0.3 gives addresses"), "{}", view.why);

        let class = "PXEClient:Arch:00007:UNDI:003001";
        let discover = message(MessageType::Discover, 1, class, true);
        let offer = lan.client(|socket| ask(socket, everybody(), &discover, US));
        assert_eq!((offer.yiaddr(), offer.siaddr()), (Ipv4Addr::UNSPECIFIED, US));
        assert_eq!(offer.opts().get(OptionCode::VendorExtensions), None);
        let theirs = lan.client(|socket| ask(socket, everybody(), &discover, RIVAL));
        let address = theirs.yiaddr();
        assert!(address.octets()[3] >= 200);

        lan.ip(&format!("-n {{}}-client addr add {address}/24 dev eth"));
        let mut request = message(MessageType::Request, 1, class, false);
        request.set_xid(0x4011).set_ciaddr(address);
        let ack = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                lan.enter("client");
                ask(&socket(4011), SocketAddrV4::new(US, 4011), &request, US)
            });
            asking.join().unwrap()
        });
        assert_eq!(ack.opts().msg_type(), Some(MessageType::Ack));
        let Some(DhcpOption::BootfileName(name)) = ack.opts().get(OptionCode::BootfileName) else {
            panic!("no boot file: {ack}");
        };
        assert!(name.starts_with(b"boot/") && name.ends_with(b"/discovery.efi"));

        let http = message(MessageType::Discover, 2, "HTTPClient:Arch:00016:UNDI:003001", true);
        let offer = lan.client(|socket| ask(socket, everybody(), &http, US));
        assert_eq!(offer.yiaddr(), Ipv4Addr::UNSPECIFIED);
        let class = DhcpOption::ClassIdentifier(b"HTTPClient".to_vec());
        assert_eq!(offer.opts().get(OptionCode::ClassIdentifier), Some(&class));
        assert!(handle.leases().is_empty());
        drop(rival);
    });
}

#[test]
fn listening_answers_nobody_and_proposes_a_mode() {
    let lan = Lan::new("c");
    let dir = tempfile::tempdir().unwrap();
    serve(&lan, dir.path(), "mode = 'listen'", |handle| {
        // A request in VLAN 20 passes by; it is noticed and not taken for one of this LAN.
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 7, 9, 0x81, 0, 0, 20, 8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend([0, 0, 0, 0, 255, 255, 255, 255, 0, 68, 0, 67, 0, 8, 0, 0]);
        frame.resize(64, 0);
        lan.client(|_| put(&frame));
        let discover = message(MessageType::Discover, 1, "PXEClient:Arch:00007:UNDI:003001", true);
        lan.client(|socket| {
            let mut bytes = Vec::new();
            discover.encode(&mut Encoder::new(&mut bytes)).unwrap();
            socket.send_to(&bytes, everybody()).unwrap();
            assert!(socket.recv(&mut [0; 1500]).is_err(), "nobody answers");
        });
        until("the proposal is made", || handle.interfaces()[0].survey.proposal == Mode::Full);
        let survey = handle.interfaces().remove(0).survey;
        assert_eq!((survey.requests, survey.vlans.as_slice()), (1, [20].as_slice()), "{survey:?}");
        assert!(survey.why.contains("VLAN 20"), "{}", survey.why);
        assert_eq!(handle.counters().replies, 0);
    });
}
