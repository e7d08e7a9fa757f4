//! Our client and OpenIPMI's simulator over a network that loses, doubles and forges.  Without `ipmi_sim` this fails.

use std::{net::Ipv4Addr, time::Duration};

use appliance_ipmi::{
    IpmiError, Level, Login, Password, Policy, Session, Timing,
    command::{chassis, device, sdr},
};
use tokio::{net::UdpSocket, task::JoinSet};

use crate::sim::{PASSWORD, Sim, USER};

fn login() -> Login {
    Login::new(USER, Password::new(PASSWORD).unwrap(), Level::Operator).unwrap()
}

/// A relay on a port of its own.  Of what comes from the controller every third datagram is lost, every fifth comes
/// twice, and before each one come forged ones: noise, a bent copy, a copy without encryption and code.
async fn rough(sim: &Sim, tasks: &mut JoinSet<()>) -> std::net::SocketAddr {
    let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, controller) = (front.local_addr().unwrap(), sim.address);
    tasks.spawn(async move {
        let (mut asked, mut answer, mut client) = ([0; 2048], [0; 2048], None);
        let (mut up, mut down) = (0u32, 0u32);
        loop {
            tokio::select! {
                Ok((length, from)) = front.recv_from(&mut asked) => {
                    client = Some(from);
                    up += 1;
                    if up % 4 != 0 {
                        let _ = back.send_to(&asked[..length], controller).await;
                    }
                }
                Ok((length, _)) = back.recv_from(&mut answer) => {
                    let (Some(client), good) = (client, &answer[..length]) else { continue };
                    down += 1;
                    let mut bent = good.to_vec();
                    *bent.last_mut().unwrap() ^= 1;
                    let mut bare = good.to_vec();
                    bare[5] &= 0x3f;
                    let in_session = good[4] == 6 && good[5] & 0xc0 == 0xc0;
                    let mut out: Vec<Vec<u8>> = vec![b"noise".to_vec()];
                    if in_session {
                        out.extend([bent, bare]);
                    }
                    if down % 3 != 0 {
                        out.push(good.to_vec());
                    }
                    if down % 5 == 0 {
                        out.push(good.to_vec());
                    }
                    for datagram in out {
                        let _ = front.send_to(&datagram, client).await;
                    }
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn a_session_outlives_loss_doubles_and_forgery() {
    let (sim, mut tasks) = (Sim::start(), JoinSet::new());
    let address = rough(&sim, &mut tasks).await;
    let timing = Timing { first_milliseconds: 60, tries: 14 };
    let mut session = Session::open(address, &login(), Policy::AllowSuite3, timing).await.unwrap();
    for _ in 0..10 {
        assert_eq!(device::id(&mut session).await.unwrap().maker, 0x1291);
        assert!(!chassis::status(&mut session).await.unwrap().on);
    }
    assert_eq!(sdr::read(&mut session).await.unwrap().records.len(), 3);
    session.close().await.unwrap();
}

#[tokio::test]
async fn silence_and_a_closed_port_are_told_apart() {
    let timing = Timing { first_milliseconds: 50, tries: 2 };
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let free = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let open = async |address| {
        let login = login();
        let attempt = Session::open(address, &login, Policy::Strict, timing);
        match tokio::time::timeout(Duration::from_secs(30), attempt).await.unwrap() {
            Err(error @ IpmiError::NoAnswer { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let said = open(silent.local_addr().unwrap()).await;
    assert!(said.contains("Get Channel Authentication Capabilities") && !said.contains("refused"), "{said}");
    assert!(open(free).await.contains("refused"));
}
