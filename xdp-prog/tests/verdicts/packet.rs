//! Builds the test packets byte by byte. Deliberately not `wire`: a fixture must not share the code under test's ideas.

/// A frame under construction; every part can be made to lie.
#[derive(Clone)]
pub struct Packet {
    pub tags: Vec<(u16, u16)>,
    pub ip: Ip,
    pub protocol: u8,
    pub destination_port: u16,
    pub udp_length: Option<u16>,
    pub ip_length: Option<u16>,
    pub payload: Vec<u8>,
}

#[derive(Clone)]
pub enum Ip {
    V4 { source: [u8; 4], destination: [u8; 4], options: usize, fragment: u16 },
    V6 { source: [u8; 16], destination: [u8; 16], extension: Option<u8> },
}

/// The address that the program is told to listen on, in each family.
pub const LISTENED_V4: [u8; 4] = [10, 0, 0, 1];
pub const LISTENED_V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

impl Ip {
    pub fn v4(source: [u8; 4]) -> Self {
        Self::V4 { source, destination: LISTENED_V4, options: 0, fragment: 0x4000 }
    }

    pub fn v6(source: [u8; 16]) -> Self {
        Self::V6 { source, destination: LISTENED_V6, extension: None }
    }
}

impl Packet {
    pub fn v4(destination_port: u16, payload: Vec<u8>) -> Self {
        let ip = Ip::v4([10, 0, 0, 2]);
        Self { tags: vec![], ip, protocol: 17, destination_port, udp_length: None, ip_length: None, payload }
    }

    pub fn v6(destination_port: u16, payload: Vec<u8>) -> Self {
        let mut source = [0; 16];
        source[0] = 0xfd;
        source[15] = 2;
        Self { ip: Ip::v6(source), ..Self::v4(destination_port, payload) }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut udp = Vec::new();
        udp.extend_from_slice(&40_000u16.to_be_bytes());
        udp.extend_from_slice(&self.destination_port.to_be_bytes());
        udp.extend_from_slice(&self.udp_length.unwrap_or(8 + self.payload.len() as u16).to_be_bytes());
        udp.extend_from_slice(&[0, 0]);
        udp.extend_from_slice(&self.payload);

        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for (ethertype, tag) in &self.tags {
            frame.extend_from_slice(&ethertype.to_be_bytes());
            frame.extend_from_slice(&tag.to_be_bytes());
        }
        match &self.ip {
            Ip::V4 { source, destination, options, fragment } => {
                frame.extend_from_slice(&[8, 0, 0x45 + *options as u8, 0]);
                let length = self.ip_length.unwrap_or((20 + options * 4 + udp.len()) as u16);
                frame.extend_from_slice(&length.to_be_bytes());
                frame.extend_from_slice(&[0, 1]);
                frame.extend_from_slice(&fragment.to_be_bytes());
                frame.extend_from_slice(&[64, self.protocol, 0, 0]);
                frame.extend_from_slice(source);
                frame.extend_from_slice(destination);
                frame.resize(frame.len() + options * 4, 1);
            }
            Ip::V6 { source, destination, extension } => {
                frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
                let extra = if extension.is_some() { 8 } else { 0 };
                let length = self.ip_length.unwrap_or((extra + udp.len()) as u16);
                frame.extend_from_slice(&length.to_be_bytes());
                frame.extend_from_slice(&[extension.unwrap_or(self.protocol), 64]);
                frame.extend_from_slice(source);
                frame.extend_from_slice(destination);
                if extension.is_some() {
                    frame.extend_from_slice(&[self.protocol, 0, 0, 0, 0, 0, 0, 0]);
                }
            }
        }
        frame.extend_from_slice(&udp);
        frame
    }
}

/// A MoldUDP64 payload that claims `count` messages and has the blocks given: (claimed length, bytes really there).
pub fn mold(count: u16, blocks: &[(u16, usize)]) -> Vec<u8> {
    let mut payload = b"D000000001".to_vec();
    payload.extend_from_slice(&1u64.to_be_bytes());
    payload.extend_from_slice(&count.to_be_bytes());
    for (claimed, real) in blocks {
        payload.extend_from_slice(&claimed.to_be_bytes());
        payload.resize(payload.len() + real, b'x');
    }
    payload
}
