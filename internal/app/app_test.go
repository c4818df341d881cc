package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadPID returns the ID of a process that has ended.
func deadPID(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestPIDFileIsOurs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, before string }{
		{"where there was none", ""},
		{"in place of a dead process's", strconv.Itoa(deadPID(t)) + "\n"},
		{"in place of our own", strconv.Itoa(os.Getpid())},
		{"in place of rubbish", "what?"},
		{"in place of a number that is no process", "-1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "pid")
			if tc.before != "" {
				if err := os.WriteFile(path, []byte(tc.before), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			f, err := writePIDFile(path, "")
			if err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != strconv.Itoa(os.Getpid())+"\n" {
				t.Errorf("it holds %q, %v", b, err)
			}
			f.remove()
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it is still there: %v", err)
			}
		})
	}
}

func TestPIDFileOfALivingProcessIsLeftAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pid")
	text := strconv.Itoa(os.Getppid()) + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := writePIDFile(path, ""); err == nil || !strings.Contains(err.Error(), "is another instance up?") {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != text {
		t.Errorf("it holds %q, %v", b, err)
	}
}

func TestWithoutAPIDFileThereIsNothingToRemove(t *testing.T) {
	t.Parallel()
	f, err := writePIDFile("", "")
	if f != nil || err != nil {
		t.Errorf("got %v, %v", f, err)
	}
	f.remove()
	if _, err := writePIDFile(filepath.Join(t.TempDir(), "no", "such", "folder"), ""); err == nil {
		t.Error("a folder that is missing is no error")
	}
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, out, err string }{
		{name: "valid", text: "listen_port = 6543\n[databases.a]\nhost = \"h\"\n", out: "configuration is valid\n"},
		{name: "unknown key", text: "listen_prot = 1\n", err: "listen_prot"},
		{name: "certificate that is missing", text: "client_tls_sslmode = \"require\"\nclient_tls_cert_file = \"/none\"\nclient_tls_key_file = \"/none\"\n", err: "/none"},
		{name: "bad HBA file", text: "auth_type = \"hba\"\nauth_hba_file = \"hba\"\n", err: "hba"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "c.toml")
			text := strings.ReplaceAll(tc.text, `"hba"`+"\n", `"hba"`+"\n")
			if err := os.WriteFile(filepath.Join(dir, "hba"), []byte("nonsense all all trust\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			text = strings.ReplaceAll(text, `auth_hba_file = "hba"`, fmt.Sprintf("auth_hba_file = %q", filepath.Join(dir, "hba")))
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			err := Check(&out, path)
			if tc.err == "" {
				if err != nil || !strings.HasSuffix(out.String(), tc.out) {
					t.Errorf("printed %q, %v", out.String(), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.err) || strings.Contains(out.String(), "is valid") {
				t.Errorf("printed %q, error %v; want one about %s", out.String(), err, tc.err)
			}
		})
	}
	if err := Check(io.Discard, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is missing is no error")
	}
}

func healthConfig(t *testing.T, listenAddr string, port int, dir string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.toml")
	text := fmt.Sprintf("listen_addr = %q\nlisten_port = %d\nunix_socket_dir = %q\n", listenAddr, port, dir)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHealthAsksForTLSAndBelievesOnlyAPooler(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, listenAddr, answer, err string
	}{
		{name: "no TLS", listenAddr: "127.0.0.1", answer: "N"},
		{name: "TLS", listenAddr: "*", answer: "S"},
		{name: "first of several addresses", listenAddr: "127.0.0.1, ::1", answer: "N"},
		{name: "Unix socket", answer: "N"},
		{name: "another kind of server", listenAddr: "127.0.0.1", answer: "H", err: "is not a PostgreSQL pooler"},
		{name: "silence", listenAddr: "127.0.0.1", err: "does not answer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "ph")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			port := 6432
			var l net.Listener
			if tc.listenAddr == "" {
				l, err = net.Listen("unix", filepath.Join(dir, ".s.PGSQL.6432"))
			} else if l, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
				port = l.Addr().(*net.TCPAddr).Port
			}
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				nc, err := l.Accept()
				if err != nil {
					return
				}
				defer func() { _ = nc.Close() }()
				var b [8]byte
				if _, err := io.ReadFull(nc, b[:]); err == nil {
					_, _ = nc.Write([]byte(tc.answer))
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			err = Health(ctx, []string{healthConfig(t, tc.listenAddr, port, dir)})
			_ = l.Close()
			<-done
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("got %v, want %q", err, tc.err)
			}
		})
	}
}

func TestHealthFailsWhereNobodyListens(t *testing.T) {
	t.Parallel()
	if err := Health(t.Context(), []string{healthConfig(t, "", 6432, t.TempDir())}); err == nil {
		t.Error("no error")
	}
	if err := Health(t.Context(), []string{filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("no error without a configuration")
	}
}

func TestAProcessStartsAnswersAndCleansUp(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "pa")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path, pid := filepath.Join(dir, "c.toml"), filepath.Join(dir, "pid")
	text := fmt.Sprintf("listen_addr = \"\"\nunix_socket_dir = %q\npidfile = %q\nlogfile = %q\n", dir, pid, filepath.Join(dir, "log"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Start(path, Options{Version: "test", Quiet: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := Health(t.Context(), []string{path}); err != nil {
		t.Error(err)
	}
	if _, err := Start(path, Options{Version: "test", Quiet: true}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second one on the same socket: %v", err)
	}
	p.Close()
	for _, left := range []string{pid, filepath.Join(dir, ".s.PGSQL.6432")} {
		if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", left, err)
		}
	}
	if err := Health(t.Context(), []string{path}); err == nil {
		t.Error("it still answers")
	}
}
