package admin

import (
	"bytes"
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"pgdrover/internal/config"
	"pgdrover/pooler"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// safeBuffer is a log that may be read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// house is an admin database behind a listener that lets everybody in: "ops" as admin, others as stats user.
type house struct {
	t      testing.TB
	ctl    *fakeControl
	cfg    *fakeConfig
	log    *safeBuffer
	srv    *Server
	addr   *net.TCPAddr
	nextID atomic.Uint64
	mu     sync.Mutex
	keys   map[uint32]chan struct{}
	ended  chan error // what ServeAdmin returned
	stop   context.CancelFunc
}

func start(t testing.TB, change ...func(*Options)) *house {
	t.Helper()
	return startWith(t, nil, change...)
}

// startWith is start with a real configuration, if there is one.
func startWith(t testing.TB, real config.Controller, change ...func(*Options)) *house {
	t.Helper()
	h := &house{t: t, ctl: &fakeControl{}, cfg: &fakeConfig{}, log: &safeBuffer{}, keys: map[uint32]chan struct{}{}, ended: make(chan error, 1000)}
	opts := Options{
		Log: zerolog.New(h.log), Version: "0.1.0", Now: func() time.Time { return at },
		DNSHosts: func() []DNSHost { return []DNSHost{{"db.example", 12, "10.0.1.1:0,10.0.1.2:0"}} },
	}
	for _, f := range change {
		f(&opts)
	}
	if real == nil {
		real = h.cfg
	}
	h.srv = New(h.ctl, real, opts)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = l.Addr().(*net.TCPAddr)
	ctx, cancel := context.WithCancel(context.Background())
	h.stop = cancel
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				h.serve(ctx, c)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); cancel(); wg.Wait() })
	return h
}

// serve does what the pooler does at login.
func (h *house) serve(ctx context.Context, c net.Conn) {
	b := pgproto3.NewBackend(pgproto3.NewChunkReader(c), c)
	for {
		m, err := b.ReceiveStartupMessage()
		if err != nil {
			return
		}
		switch m := m.(type) {
		case *pgproto3.CancelRequest:
			h.mu.Lock()
			ch := h.keys[m.SecretKey]
			h.mu.Unlock()
			select {
			case ch <- struct{}{}:
			default:
			}
			return
		case *pgproto3.StartupMessage:
			id := h.nextID.Add(1)
			canceled := make(chan struct{}, 1)
			h.mu.Lock()
			h.keys[uint32(id)] = canceled
			h.mu.Unlock()
			for _, m := range []pgproto3.BackendMessage{
				&pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "server_version", Value: serverVersion},
				&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"}, &pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"},
				&pgproto3.BackendKeyData{ProcessID: uint32(id), SecretKey: uint32(id)}, &pgproto3.ReadyForQuery{TxStatus: 'I'},
			} {
				if err := b.Send(m); err != nil {
					return
				}
			}
			h.ended <- h.srv.ServeAdmin(ctx, &pooler.AdminSession{
				Conn: c, ID: id, User: m.Parameters["user"], Admin: func() bool { return m.Parameters["user"] == "ops" }, Addr: c.RemoteAddr().String(),
				Database: m.Parameters["database"], Canceled: canceled, Parameters: m.Parameters,
			})
			return
		default: // SSLRequest, GSSENCRequest
			if _, err := c.Write([]byte{'N'}); err != nil {
				return
			}
		}
	}
}

func (h *house) dsn(user string) string {
	return "host=127.0.0.1 port=" + strconv.Itoa(h.addr.Port) + " user=" + user + " dbname=pgdrover sslmode=disable application_name=test"
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// notices collects what a connection is told beside results.
type notices struct {
	mu  sync.Mutex
	all []*pgconn.Notice
}

func (n *notices) take() []*pgconn.Notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.all
	n.all = nil
	return out
}

func (h *house) connect(t testing.TB, user string, more ...string) (*pgconn.PgConn, *notices) {
	t.Helper()
	cfg, err := pgconn.ParseConfig(strings.Join(append([]string{h.dsn(user)}, more...), " "))
	if err != nil {
		t.Fatal(err)
	}
	n := &notices{}
	cfg.OnNotice = func(_ *pgconn.PgConn, m *pgconn.Notice) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.all = append(n.all, m)
	}
	c, err := pgconn.ConnectConfig(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c, n
}

func (h *house) pgx(t testing.TB, user string, mode pgx.QueryExecMode) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(h.dsn(user))
	if err != nil {
		t.Fatal(err)
	}
	cfg.DefaultQueryExecMode = mode
	c, err := pgx.ConnectConfig(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
