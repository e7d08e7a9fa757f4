//! From answers to what is written: the site file, networkd's files, the time servers'.

use std::net::Ipv4Addr;

use appliance_model::Mac;
use serde::Serialize;

use crate::{
    Answers, Facts, Problem,
    answers::{CLASSES, PROFILES},
    lan::{self, Mode},
    net::{Home, Pool},
};

/// The site's own file, below the site directory; a site is there once it is.
pub const SITE_FILE: &str = "scalerforge.toml";
/// Of a site without a chain of others, as the sample site file has it.
const DEVELOPMENT_CHAIN: u64 = 777_077;

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Below the site directory.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Answers that make sense, each by itself and together.
#[derive(Debug)]
pub(crate) struct Wish {
    name: String,
    region: String,
    class: String,
    profile: String,
    hp_id: u64,
    location_code: u8,
    lan: Lan,
    uplink: Option<Uplink>,
    time: Vec<String>,
    chain: Option<(String, u64)>,
}

#[derive(Debug)]
struct Lan {
    nic: String,
    home: Home,
    mode: Mode,
    pool: Option<Pool>,
    router: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
}

#[derive(Debug)]
struct Uplink {
    nic: String,
    /// `None` is DHCP.
    home: Option<Home>,
    router: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
}

/// Reads answers, and keeps what is wrong with them.
struct Reader<'a> {
    answers: &'a Answers,
    facts: &'a Facts,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn wrong(&mut self, key: &'static str, what: impl Into<String>, next: impl Into<String>) {
        self.problems.push(Problem { key, what: what.into(), next: next.into() });
    }

    fn text(&self, key: &str) -> Option<String> {
        self.answers.holds(key, self.facts)
    }

    /// An answer that there must be.
    fn needed(&mut self, key: &'static str, next: &str) -> Option<String> {
        let text = self.text(key);
        if text.is_none() {
            self.wrong(key, "has no answer, and nothing can be proposed", next);
        }
        text
    }

    /// An answer that may be absent, and must be understood where it is there.
    fn read<T>(&mut self, key: &'static str, next: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(key)?;
        let value = read(&text);
        if value.is_none() {
            self.wrong(key, format!("`{text}` is not what is asked for"), next);
        }
        value
    }

    fn list<T>(&mut self, key: &'static str, next: &str, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let all = |text: &str| text.split(',').map(|one| read(one.trim())).collect::<Option<Vec<T>>>();
        self.read(key, next, all).unwrap_or_default()
    }

    fn addresses(&mut self, key: &'static str) -> Vec<Ipv4Addr> {
        self.list(key, "write IPv4 addresses with commas between, as in 10.0.0.1, 10.0.0.2", |one| {
            one.parse().ok()
        })
    }

    fn port(&mut self, key: &'static str) -> Option<String> {
        let names: Vec<String> = self.facts.nics.iter().map(|nic| nic.name.clone()).collect();
        let next = format!("this machine has {}", names.join(", "));
        self.read(key, &next, |name| names.iter().any(|one| one == name).then(|| name.to_owned()))
    }

    fn lan(&mut self) -> Option<Lan> {
        self.needed("lan.interface", "name the port to which the servers are connected");
        let nic = self.port("lan.interface")?;
        let next = "write a free address of that LAN which its DHCP server does not give, with the network's bits, as in \
                    10.77.0.1/24";
        self.needed("lan.address", next);
        let home = self.read("lan.address", next, Home::read)?;
        let beside = self.addresses("lan.beside");
        let mode = self.text("lan.mode").unwrap_or_default();
        let mode = lan::mode(&mode, &beside, &nic, self.facts, self.problems)?;
        let pool = self.read("lan.pool", "write FIRST-LAST, as in 10.77.0.100-10.77.0.199", Pool::read);
        if let Some(pool) = pool.filter(|pool| !home.has(pool.first) || !home.has(pool.last)) {
            let next = format!("write addresses of hosts of {}", home.subnet());
            self.wrong("lan.pool", format!("{pool} is not inside the LAN"), next);
        }
        let router = self.router("lan.router", Some(home));
        let dns = self.addresses("lan.dns");
        Some(Lan { nic, home, mode, pool: pool.filter(|_| mode.has_pool()), router, dns })
    }

    fn router(&mut self, key: &'static str, home: Option<Home>) -> Option<Ipv4Addr> {
        let router = self.read(key, "write an IPv4 address, as in 10.77.0.254", |text| text.parse().ok())?;
        match home {
            Some(home) if !home.has(router) || router == home.address => {
                let what = format!("{router} is no other host of {}", home.subnet());
                self.wrong(key, what, "write the router's address in that network");
                None
            }
            Some(_) | None => Some(router),
        }
    }

    fn uplink(&mut self, lan: Option<&Lan>) -> Option<Uplink> {
        let nic = self.port("uplink.interface")?;
        if lan.is_some_and(|lan| lan.nic == nic) {
            self.wrong(
                "uplink.interface",
                format!("{nic} is the servers' port already"),
                "name another one, or leave this empty: the appliance is then reached on the servers' LAN",
            );
        }
        let text = self.text("uplink.address").unwrap_or_default();
        let home = if text == "dhcp" {
            None
        } else {
            let next = "write `dhcp`, or an address with its network's bits, as in 192.0.2.7/24";
            Some(self.read("uplink.address", next, Home::read)?)
        };
        if let (Some(home), Some(lan)) = (home, lan)
            && home.overlaps(lan.home)
        {
            let what = format!("{home} and the servers' LAN {} share addresses", lan.home.subnet());
            self.wrong("uplink.address", what, "give the servers' LAN a network of its own");
        }
        let router = self.router("uplink.router", home);
        let dns = self.addresses("uplink.dns");
        Some(Uplink { nic, home, router, dns })
    }

    fn chain(&mut self) -> Option<(String, u64)> {
        let sound = |text: &str| {
            let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
            (!host.is_empty() && !text.contains(' ')).then(|| text.to_owned())
        };
        let url = self.read("chain.rpc_url", "write an http:// or https:// URL", sound);
        let id =
            self.read("chain.chain_id", "write the chain's number, as in 8453", |text| text.parse().ok());
        match (url, id) {
            (Some(url), Some(id)) => Some((url, id)),
            (Some(_), None) => {
                self.wrong(
                    "chain.chain_id",
                    "has no answer",
                    "write the number of the chain at chain.rpc_url",
                );
                None
            }
            (None, _) => None,
        }
    }
}

/// A node's name begins with it, and it stands in file names.
fn sane_name(text: &str) -> Option<String> {
    let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (text.len() <= 64 && text.chars().all(sane)).then(|| text.to_owned())
}

impl Wish {
    pub(crate) fn read(answers: &Answers, facts: &Facts, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut reader = Reader { answers, facts, problems };
        reader.needed("site.name", "write a name, as in rack-7");
        let name = reader.read("site.name", "write up to 64 letters, digits, dots and dashes", sane_name);
        reader.needed("site.region", "write the region as the registry names it, as in eu-west");
        let region = reader.read("site.region", "write up to 64 letters, digits, dots and dashes", sane_name);
        let next = format!("write one of {}", CLASSES.join(", "));
        let known = |text: &str| CLASSES.contains(&text).then(|| text.to_owned());
        let class = reader.read("site.class", &next, known);
        let next = format!("write one of {}", PROFILES.join(", "));
        let known = |text: &str| PROFILES.contains(&text).then(|| text.to_owned());
        let profile = reader.read("burn_in.profile", &next, known);
        let lan = reader.lan();
        let uplink = reader.uplink(lan.as_ref());
        let host = |one: &str| {
            let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
            (!one.is_empty() && one.chars().all(sane)).then(|| one.to_owned())
        };
        let time = reader.list("time.servers", "write names or addresses with commas between", host);
        let chain = reader.chain();
        let hp_id = reader.read("site.hp_id", "write a whole number", |text| text.parse().ok());
        let code = reader.read("site.location_code", "write a number up to 255", |text| text.parse().ok());
        for (key, absent) in [("site.hp_id", hp_id.is_none()), ("site.location_code", code.is_none())] {
            if chain.is_some() && absent {
                reader.wrong(
                    key,
                    "has no answer, and a chain is named",
                    "write the number that ICN gave you",
                );
            }
        }
        Some(Self {
            name: name?,
            region: region?,
            class: class?,
            profile: profile?,
            hp_id: hp_id.unwrap_or(0),
            location_code: code.unwrap_or(0),
            lan: lan?,
            uplink,
            time,
            chain,
        })
    }

    /// Ports that are used, and whether each asks for its address.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (&str, bool)> {
        let uplink = self.uplink.as_ref().map(|uplink| (uplink.nic.as_str(), uplink.home.is_none()));
        [Some((self.lan.nic.as_str(), false)), uplink].into_iter().flatten()
    }

    /// What was heard on the servers' LAN, where it says more than the mode does.
    pub(crate) fn heard(&self, facts: &Facts) -> Option<String> {
        let nic = facts.nics.iter().find(|nic| nic.name == self.lan.nic)?;
        match &nic.heard {
            Some(heard) => Some(format!("on {}: {}", nic.name, heard.why)),
            None => Some(format!("nobody listened on {} for other DHCP servers", nic.name)),
        }
    }

    /// Where the page will be.
    pub(crate) fn page(&self) -> Option<String> {
        let address = match &self.uplink {
            Some(uplink) => uplink.home?.address,
            None => self.lan.home.address,
        };
        Some(format!("https://{address}/"))
    }

    pub(crate) fn will(&self) -> Vec<String> {
        let lan = &self.lan;
        let mut will = vec![
            format!("The site is called {}, in the region {}.", self.name, self.region),
            format!("{} gets the address {} and is the servers' LAN.", lan.nic, lan.home),
            format!("There, the appliance {} (mode {}).", lan.mode.words(), lan.mode),
        ];
        if let Some(pool) = lan.pool {
            will.push(format!("Servers get addresses from {} to {}.", pool.first, pool.last));
        }
        will.push(match &self.uplink {
            Some(Uplink { nic, home: None, .. }) => {
                format!("{nic} asks for an address by DHCP and leads to people.")
            }
            Some(Uplink { nic, home: Some(home), .. }) => {
                format!("{nic} gets the address {home} and leads to people.")
            }
            None => "People reach it on the servers' LAN, which is its only one.".into(),
        });
        will.push(
            "Its page asks for the password of `admin`, over https with a certificate of the site's own."
                .into(),
        );
        will.push(match self.time.as_slice() {
            [] => "The time comes from the servers that DHCP names, else from Debian's.".into(),
            servers => format!("The time comes from {}.", servers.join(", ")),
        });
        will.push(format!(
            "Servers go through the burn-in `{}`; they are meant for the class `{}`.",
            self.profile, self.class
        ));
        will.push(match &self.chain {
            Some((url, id)) => format!("Nodes are registered on chain {id}, asked at {}.", host_of(url)),
            None => {
                "Nodes are registered on a development chain inside the appliance, which is worth nothing."
                    .into()
            }
        });
        if self.class == "lab" {
            will.push("TPMs made of software are believed: that is for laboratories only.".into());
        }
        will.push("No server is enrolled and nothing is staked before a person says so.".into());
        will
    }

    pub(crate) fn files(&self, facts: &Facts) -> Vec<File> {
        let mut files =
            vec![File { path: "network/10-servers.network".into(), text: self.servers_network(facts) }];
        if let Some(uplink) = &self.uplink {
            files
                .push(File { path: "network/20-people.network".into(), text: people_network(uplink, facts) });
        }
        if !self.time.is_empty() {
            let text = format!("# Written by the first run.\n[Time]\nNTP={}\n", self.time.join(" "));
            files.push(File { path: "network/timesyncd.conf".into(), text });
        }
        files.push(File { path: SITE_FILE.into(), text: self.site_file(facts) });
        files
    }

    fn servers_network(&self, facts: &Facts) -> String {
        let lan = &self.lan;
        let mut text = matched(&lan.nic, facts);
        // The server answers there, cable or not, and hears who speaks when it is plugged in.
        text.push_str("[Network]\nDHCP=no\nIPv6AcceptRA=no\nConfigureWithoutCarrier=yes\n");
        text.push_str(&format!("Address={}\n", lan.home));
        if self.uplink.is_none() {
            lan.router.iter().for_each(|router| text.push_str(&format!("Gateway={router}\n")));
            lan.dns.iter().for_each(|dns| text.push_str(&format!("DNS={dns}\n")));
        }
        text
    }

    fn site_file(&self, facts: &Facts) -> String {
        let lan = &self.lan;
        let address = lan.home.address;
        let people = match &self.uplink {
            Some(Uplink { home: Some(home), .. }) => home.address,
            // DHCP may give another address tomorrow.
            Some(Uplink { home: None, .. }) => Ipv4Addr::UNSPECIFIED,
            None => address,
        };
        let mut pxe = String::new();
        lan.router.iter().for_each(|router| pxe.push_str(&format!("router = \"{router}\"\n")));
        if !lan.dns.is_empty() {
            let dns: Vec<String> = lan.dns.iter().map(|dns| format!("\"{dns}\"")).collect();
            pxe.push_str(&format!("dns = [{}]\n", dns.join(", ")));
        }
        if let Some(pool) = lan.pool {
            pxe.push_str(&format!("\n[pxe.pool]\nfirst = \"{}\"\nlast = \"{}\"\n", pool.first, pool.last));
        }
        let chain = match &self.chain {
            Some((url, id)) => format!("rpc_url = {}\nchain_id = {id}\n", quoted(url)),
            None => format!("chain_id = {DEVELOPMENT_CHAIN}\n"),
        };
        let host = facts.images.host.as_ref().map_or_else(String::new, |folder| {
            format!("[host]\nrelease = {}\n\n", quoted(&folder.to_string_lossy()))
        });
        include_str!("site.toml")
            .replace("{name}", &quoted(&self.name))
            .replace("{mode}", lan.mode.as_str())
            .replace("{interface}", &quoted(&lan.nic))
            .replace("{address}", &address.to_string())
            .replace("{subnet}", &lan.home.subnet())
            .replace("{pxe}", &pxe)
            .replace("{uki}", &quoted(&facts.images.uki.to_string_lossy()))
            .replace("{reference}", &quoted(&facts.images.reference.to_string_lossy()))
            .replace("{people}", &people.to_string())
            .replace("{host}", &host)
            .replace("{profile}", &self.profile)
            .replace("{software_tpm}", if self.class == "lab" { "true" } else { "false" })
            .replace("{chain}", &chain)
            .replace("{region}", &quoted(&self.region))
            .replace("{hp_id}", &self.hp_id.to_string())
            .replace("{location_code}", &self.location_code.to_string())
    }
}

/// URLs of endpoints often hold a key; what is shown is where it leads.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    host.rsplit('@').next().unwrap_or(host)
}

/// As TOML quotes it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn people_network(uplink: &Uplink, facts: &Facts) -> String {
    let mut text = matched(&uplink.nic, facts);
    match uplink.home {
        None => text.push_str("[Network]\nDHCP=ipv4\n"),
        Some(home) => text.push_str(&format!("[Network]\nDHCP=no\nAddress={home}\n")),
    }
    uplink.router.iter().for_each(|router| text.push_str(&format!("Gateway={router}\n")));
    uplink.dns.iter().for_each(|dns| text.push_str(&format!("DNS={dns}\n")));
    text
}

/// By hardware address where it is known: names follow the slots, and cards are moved.
fn matched(nic: &str, facts: &Facts) -> String {
    let mac: Option<Mac> = facts.nics.iter().find(|one| one.name == nic).and_then(|one| one.mac);
    let by = mac.map_or_else(|| format!("Name={nic}"), |mac| format!("MACAddress={mac}\nType=ether"));
    format!("# Written by the first run.\n[Match]\n{by}\n\n")
}
