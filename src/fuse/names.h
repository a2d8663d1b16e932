/* Users and groups by name, from the system's name service. Slow or down is possible: never ask where requests are
 * received. */
#pragma once

#include "bucket/acl.h"

extern const struct acl_names names_system;
