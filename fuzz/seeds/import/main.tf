locals {
  org = "myorg"
}
resource "docker_org_setting_registry_access_management" "r" {
  org_name = local.org
  enabled  = var.enabled
  custom_registries = toset([{ address = "contoso.azurecr.io", friendly_name = "A", allowed = true }])
  standard_registry_docker_hub = { allowed = true }
}
resource "docker_org_setting_image_access_allowlist" "l" {
  org_name     = docker_org_setting_registry_access_management.r.org_name
  repositories = ["prom/prometheus"]
}
