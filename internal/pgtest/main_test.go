package pgtest

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// ownerEnv makes the test binary the owner of one cluster, which it describes on standard output, until it
// is killed. TestOwnerKilled runs it so.
const ownerEnv = "PGTEST_OWN_A_CLUSTER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerEnv) != "" {
		c, err := New(context.Background(), Options{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(c.dir)
		select {}
	}
	goleak.VerifyTestMain(m)
}
