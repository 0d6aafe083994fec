//! Control bodies: exact bytes, and everything that is none.

use wire::DecodeError;
use wire::control::{MAX_LENGTH, Reply, Request};
use wire::soupbintcp::{LoginAccepted, LoginRequest};

const LOGIN: LoginRequest = LoginRequest {
    username: *b"alice ",
    password: *b"secret    ",
    requested_session: *b"D123456789",
    requested_sequence: 17,
};

fn request(request: Request) -> Vec<u8> {
    let mut out = [0; MAX_LENGTH];
    let length = request.write(&mut out);
    out[..length].to_vec()
}

fn reply(reply: Reply) -> Vec<u8> {
    let mut out = [0; MAX_LENGTH];
    let length = reply.write(&mut out);
    out[..length].to_vec()
}

#[test]
fn bodies_have_the_documented_bytes() {
    let login = request(Request::Login { request: LOGIN, cookie: None });
    assert_eq!(login.len(), LoginRequest::LENGTH);
    let with_cookie = request(Request::Login { request: LOGIN, cookie: Some([7; 16]) });
    assert_eq!(with_cookie, [&login[..], &[7; 16]].concat());
    assert_eq!(request(Request::Logout { session: Some(*b"D123456789") }), b"OD123456789");
    assert_eq!(request(Request::Logout { session: None }), b"O");
    assert_eq!(request(Request::Ride { session: *b"D123456789" }), b"RD123456789");
    assert_eq!(reply(Reply::Challenge { cookie: [7; 16] }), [&b"C"[..], &[7; 16]].concat());
    assert_eq!(reply(Reply::EndOfSession { session: *b"D123456789" }), b"ZD123456789");
    assert_eq!(reply(Reply::Rejected { reason: b'A' }), b"JA");
}

#[test]
fn every_body_decodes_to_itself_and_no_other_length_does() {
    let requests = [
        Request::Login { request: LOGIN, cookie: None },
        Request::Login { request: LOGIN, cookie: Some(*b"0123456789abcdef") },
        Request::Logout { session: None },
        Request::Ride { session: *b"D123456789" },
        Request::Logout { session: Some(*b"D123456789") },
    ];
    let lengths: Vec<usize> = requests.iter().map(|&one| request(one).len()).collect();
    for one in requests {
        let body = request(one);
        assert_eq!(Request::decode(&body), Ok(one));
        let longer = [&body[..], &[b' '; 64]].concat();
        for length in (0..=longer.len()).filter(|length| !lengths.contains(length)) {
            assert!(Request::decode(&longer[..length]).is_err(), "{one:?} in {length} bytes");
        }
        for room in 0..body.len() {
            assert_eq!(one.write(&mut vec![0; room]), 0, "{one:?} into {room}");
        }
    }
    let replies = [
        Reply::Challenge { cookie: [9; 16] },
        Reply::Accepted(LoginAccepted { session: *b"D123456789", sequence: 4 }),
        Reply::Rejected { reason: b'S' },
        Reply::EndOfSession { session: *b"D123456789" },
    ];
    for one in replies {
        let body = reply(one);
        assert_eq!(Reply::decode(&body), Ok(one));
        assert!(Reply::decode(&body[..body.len() - 1]).is_err(), "{one:?}");
        assert!(Reply::decode(&[&body[..], b"x"].concat()).is_err(), "{one:?}");
        for room in 0..body.len() {
            assert_eq!(one.write(&mut vec![0; room]), 0, "{one:?} into {room}");
        }
    }
}

#[test]
fn what_the_other_end_says_is_no_body_of_this_one() {
    let first = |decode: fn(&[u8]) -> Option<DecodeError>| {
        let known = (0..=u8::MAX).filter(|&first| decode(&[first]) != Some(DecodeError::UnknownType(first)));
        known.collect::<Vec<u8>>()
    };
    assert_eq!(first(|body| Request::decode(body).err()), b"LOR");
    assert!(Reply::decode(b"O").is_err() && Reply::decode(b"+text").is_err() && Reply::decode(b"Z").is_err());
    assert!(Request::decode(b"").is_err() && Reply::decode(b"").is_err());
}
