//! DHCP and HTTP boot on the provisioning LAN.
