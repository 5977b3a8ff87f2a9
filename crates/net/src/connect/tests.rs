use super::*;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

/// A client that ended first leaves its port in TIME-WAIT for a minute: a balancer can listen
/// on it all the same.
#[tokio::test]
async fn the_port_of_an_ended_connection_can_be_listened_on() {
    let mut failed = None;
    // Another process may be given the port in between, but not each time.
    for _ in 0..5 {
        match listen_on_an_ended_port().await {
            Ok(_) => return,
            Err(error) => failed = Some(error),
        }
    }
    panic!("{failed:?}");
}

async fn listen_on_an_ended_port() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut accepted, peer) = listener.accept().await.unwrap();
    drop(client);
    assert_eq!(
        accepted.read_u8().await.unwrap_err().kind(),
        io::ErrorKind::UnexpectedEof
    );
    drop(accepted);
    TcpListener::bind(peer).await
}
